"""Starting from another model's weights."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autoseg.artefacts import load
from autoseg.data.labels import Label, LabelScheme
from autoseg.errors import ArtefactError, TrainingError, UnknownNameError
from autoseg.planning.plan import Plan
from autoseg.planning.run import plan as make_plan
from autoseg.planning.settings import apply_settings
from autoseg.training.model_folder import FoldCard, load_network, network_of, open_model
from autoseg.training.transfer import adopted, input_names, take_weights
from autoseg.workspace import open_workspace
from tests.planning.test_recipes import brats_plan
from tests.prediction.small import plan, scan, write_nifti, write_small_model
from tests.training.asking import train
from tests.training.test_run import SHORT, StopsAfter, write_dataset

SEQUENCES = ("FLAIR", "T1w", "t1gd", "T2w")
FIRST = "encoder.stages.0.convs.0.conv.weight"
ONE = LabelScheme(labels=(Label(name="background", value=0), Label(name="lesion", value=1)))


@pytest.fixture
def source(tmp_path):
    """A model for four sequences and two classes."""
    return open_model(write_small_model(tmp_path / "source", plan(channels=SEQUENCES), folds=("0", "1")))


def taken(source, target, *, fold="0"):
    configuration = target.configurations["3d_fullres"]
    network = network_of(target, configuration)
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    transfer = take_weights(network, source, fold=fold, plan=target, configuration=configuration)
    return transfer, network.state_dict(), fresh, load_network(source, transfer.fold).state_dict()


def test_the_same_channels_and_classes_take_everything(source):
    transfer, found, _, old = taken(source, plan(channels=SEQUENCES), fold="1")
    assert transfer.fold == "1"
    assert all(torch.equal(found[name], old[name]) for name in old)
    assert (transfer.taken, transfer.fresh, transfer.unused, transfer.inflated) == (len(old), (), (), None)


def test_channels_are_taken_by_name_and_unknown_ones_are_the_mean(source):
    target = plan(channels=("t2w", "CT", "FLAIR"))
    transfer, found, _, old = taken(source, target)
    kernels = old[FIRST]
    assert torch.equal(found[FIRST][:, 0], kernels[:, 3])
    assert torch.allclose(found[FIRST][:, 1], kernels.mean(1))
    assert torch.equal(found[FIRST][:, 2], kernels[:, 0])
    assert transfer.inflated == FIRST
    assert transfer.channels == {"t2w": "T2w", "CT": "the mean of FLAIR, T1w, t1gd, T2w", "FLAIR": "FLAIR"}
    assert transfer.fresh == ()
    assert "first layer encoder.stages.0.convs.0.conv.weight made from its channels (t2w from T2w; CT from" in str(transfer)


def test_as_many_channels_in_another_order_are_sorted(source):
    transfer, found, _, old = taken(source, plan(channels=SEQUENCES[::-1]))
    assert torch.equal(found[FIRST], old[FIRST].flip(1))
    assert transfer.taken == len(old) - 1


def test_other_classes_get_new_heads_that_begin_at_zero_even_where_their_number_is_the_same(source):
    same_number = LabelScheme(labels=tuple(Label(name=name, value=i) for i, name in enumerate(("background", "x", "y"))))
    for labels in (ONE, same_number):
        transfer, found, _, old = taken(source, plan(channels=SEQUENCES, labels=labels))
        heads = [name for name in found if ".heads." in name]
        assert list(transfer.fresh) == heads
        assert set(transfer.unused) == set(heads)
        assert not any(found[name].any() for name in heads)
        assert all(torch.equal(found[name], old[name]) for name in found if name not in heads)


def test_a_fold_that_the_source_lacks_starts_from_its_first(source):
    assert taken(source, plan(channels=SEQUENCES), fold="4")[0].fold == "0"
    assert taken(source, plan(channels=SEQUENCES), fold="all")[0].fold == "0"


@pytest.mark.parametrize("kind", ["residual_unet", "isensee2017"])
def test_every_network_of_autoseg_has_a_first_layer_and_heads(tmp_path, kind):
    old = plan(kind=kind, channels=("MRI", "CT"))
    source = open_model(write_small_model(tmp_path / "source", old))
    transfer, found, _, weights = taken(source, plan(kind=kind, channels=("CT",), labels=ONE))
    assert transfer.inflated is not None
    assert torch.equal(found[transfer.inflated][:, 0], weights[transfer.inflated][:, 1])
    assert all("heads" in name for name in transfer.fresh)


def test_of_another_topology_what_fits_is_taken(source):
    target = plan(channels=SEQUENCES)
    wider = target.configurations["3d_fullres"].network.model_copy(update={"features": (4, 12)})
    one = target.configurations["3d_fullres"].model_copy(update={"network": wider})
    transfer, found, fresh, old = taken(source, target.model_copy(update={"configurations": {"3d_fullres": one}}))
    assert torch.equal(found[FIRST], old[FIRST])
    assert "encoder.stages.1.convs.0.conv.weight" in transfer.fresh
    assert torch.equal(found["encoder.stages.1.convs.0.conv.weight"], fresh["encoder.stages.1.convs.0.conv.weight"])


def test_a_network_of_which_nothing_fits_is_refused(source):
    with pytest.raises(TrainingError, match="none of its weights fits 3d_fullres, no tensor has the same name and shape"):
        taken(source, plan(kind="isensee2017", labels=ONE))


def test_the_masks_of_a_cascade_are_channels_of_their_own():
    cascade = plan(channels=("MRI",)).configurations["3d_fullres"].model_copy(update={"previous_stage": "3d_lowres"})
    assert input_names(plan(), cascade) == ("MRI", "mask of bright", "mask of brighter")


def test_topology_patch_and_spacing_come_from_the_source(source):
    target = brats_plan()
    found = adopted(target, "3d_fullres", source)
    one, theirs = found.configurations["3d_fullres"], source.configuration
    assert (one.network, one.patch_size, one.spacing_mm) == (theirs.network, theirs.patch_size, theirs.spacing_mm)
    assert one.normalisation == target.configurations["3d_fullres"].normalisation
    assert {one.source for one in found.decisions if "patch_size" in one.name} == {"--init-from source"}
    kept = apply_settings(found, ["3d_fullres.spacing_mm=2,2,2"]).configurations["3d_fullres"]
    assert (kept.spacing_mm, kept.network) == ((2.0, 2.0, 2.0), theirs.network)


def test_a_source_of_other_dimensions_is_refused_naming_what_fits(source):
    message = r"was trained in 3 dimensions \(3d_fullres\), 2d has 2. Its weights fit 3d_fullres\."
    with pytest.raises(TrainingError, match=message):
        adopted(brats_plan(), "2d", source)


def write_two_channels(folder):
    """Balls in two sequences, at another spacing than the cubes of the other data set."""
    description = {
        "channel_names": {"0": "CTA", "1": "MRI"},
        "labels": {"background": 0, "ball": 1, "core": 2},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    axes = np.meshgrid(*(np.arange(14),) * 3, indexing="ij")
    for number in range(5):
        distance = np.sqrt(sum((axis - 6 - number % 2) ** 2 for axis in axes))
        labels = ((distance < 4).astype(np.uint8) + (distance < 2)).astype(np.uint8)
        for channel in range(2):
            voxels = scan(14, 14, 14, seed=10 * number + channel) + 4 * labels
            affine = np.diag([0.9, 0.9, 0.9, 1.0])
            write_nifti(folder / "imagesTr" / f"ball_{number}_000{channel}.nii.gz", voxels.astype(np.float32), affine)
        write_nifti(folder / "labelsTr" / f"ball_{number}.nii.gz", labels, np.diag([0.9, 0.9, 0.9, 1.0]))
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two planned data sets in one workspace; on the first a model is trained."""
    root = tmp_path_factory.mktemp("transfer")
    workspace = open_workspace(root / "workspace")
    make_plan(write_dataset(root / "Dataset001_Cubes"), workspace=workspace, workers=1)
    make_plan(write_two_channels(root / "Dataset002_Balls"), workspace=workspace, workers=1)
    cubes, balls = (workspace.dataset(name) for name in ("Dataset001_Cubes", "Dataset002_Balls"))
    # Few feature maps: what is tried here does not depend on their number.
    stages = len(load(Plan, cubes.plan_file, remake="").configurations["3d_fullres"].network.strides)
    small = f"3d_fullres.network.features={','.join(str(4 * 2**stage) for stage in range(stages))}"
    train(cubes, "3d_fullres", folds=("0",), settings=(*SHORT, small), workers=1, device="cpu")
    return SimpleNamespace(cubes=cubes, balls=balls, small=small)


def run(two, **options):
    values = {"folds": ("0",), "settings": SHORT, "workers": 1, "device": "cpu", "init_from": "Dataset001_Cubes/3d_fullres"}
    return train(two.balls, "3d_fullres", **(values | options))


def test_a_model_for_other_channels_classes_and_spacing_starts_from_another_and_says_so(two, caplog):
    caplog.set_level("INFO", logger="autoseg")
    (result,) = run(two, name="moved")
    started = result.card.started_from
    assert started.channels == {"CTA": "the mean of MRI", "MRI": "MRI"}
    assert all("heads" in name for name in started.fresh)
    assert f"fold 0 starts from {two.cubes.models / '3d_fullres'}, fold 0: {started.taken} tensors taken" in caplog.text
    model = open_model(result.model)
    assert model.configuration.spacing_mm == (1.0, 1.0, 1.0)
    assert load(Plan, two.balls.plan_file, remake="").configurations["3d_fullres"].spacing_mm == pytest.approx((0.9,) * 3)
    assert model.card.init_from == "Dataset001_Cubes/3d_fullres"
    assert "--init-from Dataset001_Cubes/3d_fullres --name moved" in model.remake()
    # Its cases have a place of their own.
    assert len(list((two.balls.path / "preprocessed").glob("3d_fullres-*/manifest.json"))) == 1


def test_an_interrupted_training_goes_on_without_taking_the_weights_again(two):
    run(two, name="unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(two, name="broken", observer=StopsAfter(4))
    (result,) = run(two, name="broken")
    first, second = (load_network(open_model(two.balls.models / name), "0").state_dict() for name in ("unbroken", "broken"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert result.card.started_from is not None


def test_a_frozen_encoder_keeps_the_weights_of_the_source(two):
    settings = (*SHORT, "training.freeze_encoder_epochs=2")
    (result,) = run(two, name="frozen", settings=settings)
    found = load_network(open_model(result.model), "0").state_dict()
    old = load_network(open_model(two.cubes.models / "3d_fullres"), "0").state_dict()
    deep = [name for name in found if name.startswith("encoder.stages.1.")]
    assert deep
    assert all(torch.equal(found[name], old[name]) for name in deep)
    assert not torch.equal(found["decoder.transpconvs.0.weight"], old["decoder.transpconvs.0.weight"])


def test_a_model_begun_from_other_weights_is_not_gone_on_with(two):
    run(two, name="strict", settings=SHORT)
    with pytest.raises(TrainingError, match=r"weights that fold 0 starts from: .*3d_fullres -> at random"):
        run(two, name="strict", init_from=None, settings=(*SHORT, "3d_fullres.spacing_mm=1,1,1"))
    with pytest.raises(TrainingError, match=r"would replace the model it starts from. Give it a --name"):
        train(two.cubes, "3d_fullres", init_from="3d_fullres", folds=("0",), settings=SHORT, workers=1, device="cpu")


def test_the_recipe_for_transfer_asks_for_a_source(two):
    with pytest.raises(TrainingError, match="Name it: --init-from MODEL"):
        run(two, recipe="transfer", init_from=None)
    (result,) = run(two, recipe="transfer", init_from=two.cubes.models / "3d_fullres")
    card, model = result.card, open_model(result.model)
    assert (result.model.name, model.card.recipe, card.started_from.fold) == ("transfer", "transfer", "0")
    assert model.plan.training.optimiser == "adamw"


def test_models_that_are_not_there_are_named_with_the_nearest(two, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'Dataset001_Cubes/3d_fullres'"):
        run(two, init_from="Dataset001_Cubes/3d_fulres")
    with pytest.raises(UnknownNameError, match="unknown model to start from"):
        run(two, init_from=str(tmp_path))
    empty = tmp_path / "begun"
    empty.mkdir()
    (empty / "model.json").write_text((two.cubes.models / "3d_fullres" / "model.json").read_text())
    (empty / "plan.json").write_text((two.cubes.models / "3d_fullres" / "plan.json").read_text())
    with pytest.raises(ArtefactError, match="no fold has weights yet"):
        run(two, init_from=empty)


def test_a_topology_of_ones_own_wins_over_that_of_the_source(two):
    settings = (*SHORT, "3d_fullres.network.kind=isensee2017")
    with pytest.raises(TrainingError, match="none of its weights fits"):
        run(two, name="narrow", settings=settings)


def test_a_recipe_trains_its_own_configuration_under_its_own_name(two):
    (result,) = train(two.cubes, recipe="unet2d_ce", folds=("0",), settings=SHORT, workers=1, device="cpu")
    model = open_model(result.model)
    assert (result.model.name, model.card.configuration, model.plan.training.loss) == ("unet2d_ce", "2d", "ce")
    assert model.plan.training.epochs == 2
    assert load(FoldCard, result.model / "fold_0" / "fold.json", remake="").started_from is None


def test_weighted_dice_of_labels_of_another_data_set_is_counted_before_training(two):
    (result,) = train(
        two.balls,
        "3d_fullres",
        folds=("0",),
        settings=(*SHORT, "training.loss=weighted_dice", two.small),
        name="weighted",
        workers=1,
        device="cpu",
    )
    weights = open_model(result.model).plan.training.class_weights
    assert sum(weights) == pytest.approx(3, rel=1e-4)
    assert weights[2] > weights[1] > weights[0]


def test_without_a_configuration_or_a_recipe_there_is_nothing_to_train(two):
    with pytest.raises(TrainingError, match="no configuration is named"):
        train(two.balls, folds=("0",))
