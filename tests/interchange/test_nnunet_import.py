import json

import numpy as np
import pytest
import torch

from autoseg.cli.model_choice import model_folders
from autoseg.errors import ArtefactError, AutosegError, PlanError, PredictionError, UnknownNameError, WorkspaceError
from autoseg.interchange.nnunet_import import import_nnunet
from autoseg.prediction.ensemble import open_ensemble
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.settings import Settings
from autoseg.training.model_folder import load_network, open_model
from autoseg.workspace import Workspace
from tests.interchange.made import checkpoint_of, network_for, old_entry, spec_of, write_nnunet_model


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "workspace").mkdir()
    return Workspace(tmp_path / "workspace")


def imported(folder, workspace, **options):
    return open_model(import_nnunet(folder, workspace, **options)[-1].path)


@pytest.mark.parametrize("kind", ["plain_unet", "residual_unet"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_an_imported_network_computes_what_it_did_before(tmp_path, workspace, kind, dimensions):
    name = "3d_fullres" if dimensions == 3 else "2d"
    mirror = tuple(range(dimensions))
    network = write_nnunet_model(
        tmp_path / "theirs", configuration=name, spec=spec_of(kind, dimensions), dimensions=dimensions, mirror=mirror
    )
    model = imported(tmp_path / "theirs", workspace)
    image = torch.randn(1, 1, *model.configuration.patch_size)
    with torch.inference_mode():
        torch.testing.assert_close(load_network(model, "0")(image), network.eval()(image))
    assert model.plan.training.mirror_axes == ((0, 1, 2) if dimensions == 3 else (1, 2))


def test_the_plan_says_what_nnunet_planned(tmp_path, workspace):
    def change(plans):
        entry = plans["configurations"]["3d_fullres"]
        entry["normalization_schemes"] = ["CTNormalization", "ZScoreNormalization"]
        entry["use_mask_for_norm"] = [False, True]
        plans["transpose_forward"] = [2, 0, 1]

    write_nnunet_model(
        tmp_path / "m", channels=2, labels={"background": 0, "a": 1, "b": 2, "ignore": 3}, change=change, mirror=(0, 2)
    )
    model = imported(tmp_path / "m", workspace, name="mine", dataset="Elsewhere")
    first, second = model.configuration.normalisation
    assert (first.scheme, first.lower, first.upper, first.mean, first.deviation) == ("ct", -50, 300, 100, 50)
    assert (second.scheme, second.use_mask) == ("zscore", True)
    assert model.plan.transpose_forward == (2, 0, 1)
    assert model.plan.labels.ignore == 3
    assert model.plan.training.mirror_axes == (0, 2)
    assert model.configuration.network.decoder_blocks == (2, 1)
    assert (model.card.name, model.path.parent.parent.name) == ("mine", "Elsewhere")
    assert "autoseg_import FOLDER --name mine" in model.remake("--restart")


def test_images_are_taken_as_stored_unless_the_orientation_of_the_training_images_is_given(tmp_path, workspace):
    write_nnunet_model(tmp_path / "theirs")
    (as_stored,) = import_nnunet(tmp_path / "theirs", workspace)
    assert any("with --orientation CODE" in note for note in as_stored.notes)
    assert open_model(as_stored.path).plan.orientation is None
    with pytest.raises(WorkspaceError, match="made from something else"):
        import_nnunet(tmp_path / "theirs", workspace, orientation="RAS")
    (turned,) = import_nnunet(tmp_path / "theirs", workspace, orientation="ras", overwrite=True)
    assert turned.notes == ()
    assert open_model(turned.path).plan.orientation == "RAS"


@pytest.mark.parametrize("code", ["XYZ", "RL", "RAR", "RASL", ""])
def test_an_orientation_that_names_an_axis_twice_or_none_is_refused(tmp_path, workspace, code):
    write_nnunet_model(tmp_path / "theirs")
    with pytest.raises(PlanError, match=rf"--orientation {code}: expected one letter each of L or R, A or P, S or I"):
        import_nnunet(tmp_path / "theirs", workspace, orientation=code)


def test_an_orientation_other_than_that_of_nnunets_reader_is_refused(tmp_path, workspace):
    write_nnunet_model(tmp_path / "theirs")
    file = tmp_path / "theirs" / "plans.json"
    file.write_text(file.read_text().replace('"SimpleITKIO"', '"NibabelIOWithReorient"'))
    assert imported(tmp_path / "theirs", workspace).plan.orientation == "RAS"
    with pytest.raises(PlanError, match="NibabelIOWithReorient turned all images to RAS"):
        import_nnunet(tmp_path / "theirs", workspace, orientation="LPS")


def test_regions_keep_the_order_of_their_outputs_and_the_values_they_write(tmp_path, workspace):
    write_nnunet_model(
        tmp_path / "m",
        labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]},
        dataset={"regions_class_order": [1, 2, 3]},
    )
    labels = imported(tmp_path / "m", workspace).plan.labels
    assert labels.target == "regions"
    assert [(region.name, region.values, region.writes) for region in labels.regions] == [
        ("whole", (1, 2, 3), 1),
        ("core", (2, 3), 2),
        ("enhancing", (3,), 3),
    ]


ALL_INSIDE = {"enhancing": 1.0, "core": 1.0, "whole": 1.0}


@pytest.mark.parametrize(
    ("order", "scores", "painted"),
    [
        ((3, 2, 1), ALL_INSIDE, 1),  # whole is listed last and covers what was painted before
        ((3, 2, 1), {"enhancing": 1.0, "core": 1.0, "whole": -1.0}, 2),
        ((3, 2, 1), {"enhancing": 1.0, "core": -1.0, "whole": -1.0}, 3),
        ((3, 2, 30), ALL_INSIDE, 30),  # a value that no region holds is still what nnU-Net writes
        ((3, 0, 1), {"enhancing": 1.0, "core": 1.0, "whole": -1.0}, 0),
    ],
)
def test_regions_are_painted_in_the_order_of_dataset_json_as_nnunet_does(tmp_path, workspace, order, scores, painted):
    network = write_nnunet_model(
        tmp_path / "m",
        labels={"background": 0, "enhancing": [3], "core": [2, 3], "whole": [1, 2, 3]},
        dataset={"regions_class_order": list(order)},
    )
    head = network.decoder.heads[-1]
    torch.nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor(list(scores.values()))  # the same everywhere, whatever the image
    torch.save(checkpoint_of(network), tmp_path / "m" / "fold_0" / "checkpoint_final.pth")
    found = import_nnunet(tmp_path / "m", workspace)[-1]
    assert "as nnU-Net paints them, in the order of dataset.json" in found.notes[0]
    image = np.random.default_rng(0).normal(size=(10, 20, 20)).astype(np.float32)
    labels = Predictor.open(found.path, settings=Settings(device="cpu")).segment(image, spacing_mm=(2, 1, 1))
    assert np.unique(labels).tolist() == [painted]


def test_a_label_that_nnunet_paints_over_is_named_and_no_reason_to_refuse(tmp_path, workspace):
    write_nnunet_model(
        tmp_path / "m",
        labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3]},
        dataset={"regions_class_order": [1, 2]},
        outputs=2,
    )
    found = import_nnunet(tmp_path / "m", workspace)[-1]
    order = "regions: whole writes 1, then core writes 2, as nnU-Net paints them, in the order of dataset.json"
    assert found.notes[0] == f"{order}; label_3 (3) would come out as 2"
    assert open_model(found.path).plan.labels.painting == "outer_first"


def test_lists_of_one_label_are_no_regions(tmp_path, workspace):
    write_nnunet_model(tmp_path / "m", labels={"background": 0, "a": [1], "b": [2]})
    assert imported(tmp_path / "m", workspace).plan.labels.target == "labels"


def test_plans_of_the_older_format_describe_the_same_network(tmp_path, workspace):
    spec = spec_of().model_copy(update={"features": (4, 8, 8)})

    def change(plans):
        plans["configurations"]["3d_fullres"] = old_entry(plans["configurations"]["3d_fullres"])

    write_nnunet_model(tmp_path / "m", spec=spec, change=change)
    assert imported(tmp_path / "m", workspace).configuration.network == spec


def test_intensities_are_found_under_the_name_that_the_first_versions_gave_them(tmp_path, workspace):
    def change(plans):
        plans["foreground_intensity_properties_by_modality"] = plans.pop("foreground_intensity_properties_per_channel")
        plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["CTNormalization"]

    write_nnunet_model(tmp_path / "m", change=change)
    (found,) = imported(tmp_path / "m", workspace).configuration.normalisation
    assert (found.lower, found.upper, found.mean, found.deviation) == (-50, 300, 100, 50)


def test_only_best_weights_of_a_model_with_an_ignore_label_and_nrrd_files_come(tmp_path, workspace):
    described = {"channel_names": {"0": "noNorm"}, "file_ending": ".nrrd"}

    def change(plans):
        entry = old_entry(plans["configurations"]["3d_fullres"])
        plans["configurations"]["3d_fullres"] = {**entry, "normalization_schemes": ["NoNormalization"]}

    network = write_nnunet_model(
        tmp_path / "m",
        spec=spec_of().model_copy(update={"features": (4, 8, 8)}),
        labels={"background": 0, "a": 1, "b": 2, "ignore": 3},
        dataset=described,
        change=change,
    )
    fold = tmp_path / "m" / "fold_0"
    (fold / "checkpoint_final.pth").rename(fold / "checkpoint_best.pth")
    model = imported(tmp_path / "m", workspace)
    assert (model.plan.channels, model.plan.file_ending, model.plan.labels.ignore) == (("noNorm",), ".nrrd", 3)
    assert model.configuration.normalisation[0].scheme == "none"
    torch.testing.assert_close(dict(load_network(model, "0", which="best").state_dict()), dict(network.state_dict()))


def test_batch_norm_of_a_trainer_is_seen_in_its_weights(tmp_path, workspace):
    spec = spec_of().model_copy(update={"norm": "batch"})
    network = write_nnunet_model(tmp_path / "m", spec=spec, trainer="nnUNetTrainerBN")
    found = import_nnunet(tmp_path / "m", workspace)[-1]
    model = open_model(found.path)
    image = torch.randn(1, 1, 8, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(load_network(model, "0")(image), network.eval()(image))
    assert "nnUNetTrainerBN, which is only a name" in found.notes[0]


def test_all_folds_come_and_predict_together(tmp_path, workspace):
    write_nnunet_model(tmp_path / "m", folds=("0", "1", "all"))
    (tmp_path / "m" / "fold_2").mkdir()
    found = import_nnunet(tmp_path / "m", workspace)[-1]
    assert found.folds == ("0", "1", "all")
    assert found.notes[0] == "fold 2: no checkpoint; left out"
    assert len(open_ensemble([found.path]).members[0].networks) == 3


def test_an_unfinished_fold_gives_its_best_weights_and_says_so(tmp_path, workspace):
    write_nnunet_model(tmp_path / "m")
    fold = tmp_path / "m" / "fold_0"
    (fold / "checkpoint_final.pth").rename(fold / "checkpoint_latest.pth")
    found = import_nnunet(tmp_path / "m", workspace)[-1]
    assert found.notes[0] == "fold 0: its training has not finished; took checkpoint_latest.pth"
    assert "no final weights" in open_ensemble([found.path]).notes[0]


def test_a_cascade_brings_the_stage_that_lies_beside_it(tmp_path, workspace):
    first, second = (tmp_path / f"nnUNetTrainer__nnUNetPlans__{name}" for name in ("3d_lowres", "3d_cascade_fullres"))
    write_nnunet_model(first, configuration="3d_lowres")

    def change(plans):
        full = plans["configurations"].pop("3d_cascade_fullres")
        plans["configurations"]["3d_fullres"] = full
        plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}

    write_nnunet_model(second, configuration="3d_cascade_fullres", inputs=3, change=change)
    stage, cascade = import_nnunet(second, workspace, name="two")
    assert (stage.name, cascade.name) == ("two_3d_lowres", "two")
    member = open_ensemble([cascade.path]).members[0]
    assert member.previous is not None
    assert member.previous.configuration.name == "3d_lowres"
    assert [one.was_there for one in import_nnunet(second, workspace, name="two")] == [True, True]


def test_a_cascade_without_its_first_stage_asks_for_it(tmp_path, workspace):
    def change(plans):
        plans["configurations"]["3d_cascade_fullres"]["previous_stage"] = "3d_lowres"

    write_nnunet_model(tmp_path / "m", configuration="3d_cascade_fullres", inputs=3, change=change)
    with pytest.raises(ArtefactError, match="--previous FOLDER"):
        import_nnunet(tmp_path / "m", workspace)


def test_importing_twice_changes_nothing_and_another_model_is_not_replaced_unasked(tmp_path, workspace):
    write_nnunet_model(tmp_path / "m")
    first = import_nnunet(tmp_path / "m", workspace, name="one")[-1]
    weights = first.path / "fold_0" / "weights_final.safetensors"
    before = weights.stat()
    assert import_nnunet(tmp_path / "m", workspace, name="one")[-1].was_there
    assert weights.stat() == before
    write_nnunet_model(tmp_path / "m", folds=("1",))
    with pytest.raises(WorkspaceError, match="--overwrite"):
        import_nnunet(tmp_path / "m", workspace, name="one")
    again = import_nnunet(tmp_path / "m", workspace, name="one", overwrite=True)[-1]
    assert again.folds == ("0", "1")
    assert [path.name for path in first.path.parent.parent.iterdir()] == ["models"]


def test_an_imported_model_is_found_by_its_name_alone(tmp_path, workspace):
    write_nnunet_model(tmp_path / "m")
    path = import_nnunet(tmp_path / "m", workspace, name="one")[-1].path
    assert model_folders(workspace.root, None, names=["one"], configurations=[]) == [path]
    assert model_folders(workspace.root, "Dataset007_Made", names=[], configurations=[]) == [path]
    other = import_nnunet(tmp_path / "m", workspace, name="one", dataset="Other")[-1].path
    with pytest.raises(PredictionError, match="2 data sets have a model one: Dataset007_Made, Other"):
        model_folders(workspace.root, None, names=["one"], configurations=[])
    assert model_folders(workspace.root, "Other", names=["one"], configurations=[]) == [other]


class Custom:
    """Something that a trainer might keep in its checkpoints."""


def test_a_class_in_a_checkpoint_is_refused_by_name_and_never_made(tmp_path, workspace):
    network = write_nnunet_model(tmp_path / "m")
    torch.save(checkpoint_of(network) | {"extra": Custom()}, tmp_path / "m" / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(ArtefactError, match=r"holds tests\.interchange\.test_nnunet_import\.Custom"):
        import_nnunet(tmp_path / "m", workspace)


class Attack:
    """Would write a file while it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, workspace):
    network = write_nnunet_model(tmp_path / "m")
    proof = tmp_path / "was_run"
    torch.save(checkpoint_of(network) | {"extra": Attack(proof)}, tmp_path / "m" / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(ArtefactError, match=r"holds builtins\.exec"):
        import_nnunet(tmp_path / "m", workspace)
    assert not proof.exists()
    assert not list(workspace.root.rglob("*.safetensors"))


def test_a_truncated_checkpoint_is_named(tmp_path, workspace):
    write_nnunet_model(tmp_path / "m")
    file = tmp_path / "m" / "fold_0" / "checkpoint_final.pth"
    for size in (0, 100, file.stat().st_size // 2):
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(ArtefactError, match=r"checkpoint_final\.pth: truncated"):
            import_nnunet(tmp_path / "m", workspace)


def entry(plans):
    return plans["configurations"]["3d_fullres"]


def arguments(plans):
    return entry(plans)["architecture"]["arch_kwargs"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: entry(p)["architecture"].update(network_class_name="x.Primus"),
            "network_class_name: expected 'PlainConv",
        ),
        (lambda p: arguments(p).update(nonlin="torch.nn.ReLU"), "nonlin: expected 'LeakyReLU', found 'ReLU'"),
        (lambda p: arguments(p).update(norm_op_kwargs={"eps": 1e-3, "affine": True}), "eps: expected 1e-05, found 0.001"),
        (lambda p: arguments(p).update(stem_channels=7), "stem_channels: unknown key"),
        (lambda p: arguments(p).update(dropout_op="torch.nn.Dropout3d"), "dropout_op: expected None"),
        (lambda p: arguments(p).pop("n_conv_per_stage"), "n_conv_per_stage: missing"),
        (lambda p: arguments(p)["strides"].pop(), "entries for 2 stages"),
        (lambda p: entry(p).pop("spacing"), r"plans\.json: configurations\.3d_fullres\.spacing: missing"),
        (lambda p: entry(p).update(preprocessor_name="Mine"), "preprocessor_name: expected 'DefaultPreprocessor'"),
        (lambda p: entry(p).update(normalization_schemes=["Mine"]), "normalization_schemes.0: expected 'CTNorm"),
        (lambda p: entry(p).update(resampling_fn_data="torch_one"), "resampling_fn_data: expected"),
        (lambda p: entry(p)["resampling_fn_data_kwargs"].update(force_separate_z=True), "force_separate_z: expected None"),
        (lambda p: entry(p).update(inherits_from="3d_fullres"), "inherits_from"),
        (lambda p: p.update(image_reader_writer="MyIO"), "image_reader_writer: found 'MyIO'"),
        (lambda p: p.update(transpose_forward=[0, 0, 1]), "transpose_forward"),
        (lambda p: p["configurations"].pop("3d_fullres"), "unknown configuration"),
        (lambda p: p.pop("dataset_name"), "dataset_name: missing"),
    ],
)
def test_a_plan_that_cannot_be_taken_over_names_its_key(tmp_path, workspace, change, message):
    write_nnunet_model(tmp_path / "m")
    plans = json.loads((tmp_path / "m" / "plans.json").read_text())
    original = json.dumps(plans)
    arguments(plans)["norm_op_kwargs"] = dict(arguments(plans)["norm_op_kwargs"])
    change(plans)
    assert json.dumps(plans) != original
    (tmp_path / "m" / "plans.json").write_text(json.dumps(plans))
    with pytest.raises((PlanError, UnknownNameError), match=message):
        import_nnunet(tmp_path / "m", workspace)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": {"channel_names": {"0": "a", "1": "b"}}}, "names 2"),
        ({"inputs": 4}, "the network has 4 input channels, dataset.json asks for 1"),
        ({"outputs": 5}, "the network has 5 outputs, dataset.json asks for 3"),
        ({"labels": {"background": 0, "a": 1}}, "the network has 3 outputs, dataset.json asks for 2"),
        ({"mirror": (0, 1, 7)}, "inference_allowed_mirroring_axes"),
        ({"folds": ()}, "no checkpoint found"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, workspace, options, message):
    write_nnunet_model(tmp_path / "m", **options)
    with pytest.raises(ArtefactError, match=message):
        import_nnunet(tmp_path / "m", workspace)


def test_weights_of_another_network_name_the_first_tensors_that_differ(tmp_path, workspace):
    write_nnunet_model(tmp_path / "m")
    other = network_for(spec_of().model_copy(update={"features": (4, 6, 10)}))
    torch.save(checkpoint_of(other), tmp_path / "m" / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(
        ArtefactError, match=r"encoder\.stages\.2\.convs\.0\.conv\.weight: 10 x 6 x 3 x 3 x 3, expected 8 x 6"
    ):
        import_nnunet(tmp_path / "m", workspace)


def test_a_folder_that_is_no_model_says_where_one_may_be(tmp_path, workspace):
    write_nnunet_model(tmp_path / "Dataset007" / "nnUNetTrainer__nnUNetPlans__2d")
    for folder, message in (
        (tmp_path / "gone", "no such folder"),
        (tmp_path / "Dataset007", "Give one of the models in it: nnUNetTrainer__nnUNetPlans__2d"),
        (tmp_path / "Dataset007" / "nnUNetTrainer__nnUNetPlans__2d" / "fold_0", "Give the folder above it"),
    ):
        with pytest.raises(AutosegError, match=message):
            import_nnunet(folder, workspace)


def test_without_dataset_json_the_one_in_the_checkpoint_is_taken(tmp_path, workspace):
    network = write_nnunet_model(tmp_path / "m")
    described = json.loads((tmp_path / "m" / "dataset.json").read_text())
    (tmp_path / "m" / "dataset.json").unlink()
    with pytest.raises(ArtefactError, match=r"no dataset\.json\. nnU-Net keeps it beside plans\.json"):
        import_nnunet(tmp_path / "m", workspace)
    checkpoint = checkpoint_of(network)
    checkpoint["init_args"]["dataset_json"] = described
    torch.save(checkpoint, tmp_path / "m" / "fold_0" / "checkpoint_final.pth")
    found = import_nnunet(tmp_path / "m", workspace)[-1]
    assert found.notes[0] == "no dataset.json beside plans.json: took the one that checkpoint_final.pth remembers"
    assert [label.name for label in open_model(found.path).plan.labels.foreground] == ["edema", "core"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_parallel_training_and_compilation_are_taken_off(tmp_path, workspace, prefix):
    network = write_nnunet_model(tmp_path / "m")
    checkpoint = checkpoint_of(network)
    checkpoint["network_weights"] = {prefix + name: tensor for name, tensor in checkpoint["network_weights"].items()}
    torch.save(checkpoint, tmp_path / "m" / "fold_0" / "checkpoint_final.pth")
    model = imported(tmp_path / "m", workspace)
    torch.testing.assert_close(dict(load_network(model, "0").state_dict()), dict(network.state_dict()))


def test_checkpoints_in_torchs_older_format_in_half_precision_are_read(tmp_path, workspace):
    network = write_nnunet_model(tmp_path / "m").half()
    file = tmp_path / "m" / "fold_0" / "checkpoint_final.pth"
    torch.save(checkpoint_of(network), file, _use_new_zipfile_serialization=False)
    found = load_network(imported(tmp_path / "m", workspace), "0").state_dict()
    torch.testing.assert_close(dict(found), dict(network.float().state_dict()))


def test_keys_that_nobody_knows_and_a_channel_without_a_name_do_no_harm(tmp_path, workspace):
    def change(plans):
        plans["written_by"] = "someone"
        plans["configurations"]["3d_fullres"]["comment"] = {"a": [1]}

    described = {
        "channel_names": {"0": ""},
        "licence": "none",
        "description": "x",
        "overwrite_image_reader_writer": "NibabelIO",
    }
    write_nnunet_model(tmp_path / "m", change=change, dataset=described)
    assert len(imported(tmp_path / "m", workspace).plan.channels) == 1


def test_values_with_gaps_are_written_as_dataset_json_has_them(tmp_path, workspace):
    write_nnunet_model(tmp_path / "m", labels={"background": 0, "b": 7, "a": 2})
    assert [label.value for label in imported(tmp_path / "m", workspace).plan.labels.foreground] == [2, 7]


def test_best_weights_are_taken_where_they_are_asked_for(tmp_path, workspace):
    final = write_nnunet_model(tmp_path / "m")
    best = network_for(spec_of(), seed=9)
    torch.save(checkpoint_of(best), tmp_path / "m" / "fold_0" / "checkpoint_best.pth")
    model = imported(tmp_path / "m", workspace)
    for which, network in (("final", final), ("best", best)):
        torch.testing.assert_close(dict(load_network(model, "0", which=which).state_dict()), dict(network.state_dict()))
