"""Two stages end to end, on three small scans; once more, slowly, with the planner's own low resolution."""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from autoseg.artefacts import load, save
from autoseg.cascade import shown_folds, unseen_by
from autoseg.cli.train import main
from autoseg.data.readers import read_image, read_labels
from autoseg.data.splits import Fold, Splits
from autoseg.errors import ArtefactError, StaleError, TrainingError
from autoseg.planning.plan import Plan
from autoseg.planning.run import plan
from autoseg.prediction.ensemble import choose_models, open_ensemble
from autoseg.prediction.passes import Sweep
from autoseg.prediction.predictor import Predictor, Settings
from autoseg.prediction.run import predict
from autoseg.prediction.sliding_window import predict_logits
from autoseg.preprocessing.case import prepare
from autoseg.preprocessing.previous_maps import open_map
from autoseg.preprocessing.store import open_case
from autoseg.training.checkpoint import load_weights, save_weights
from autoseg.training.model_folder import load_network, open_model
from autoseg.training.previous_stage import PREVIOUS_FILE, PreviousStage, as_masks
from autoseg.workspace import DatasetFolder, open_workspace
from tests.prediction.small import write_nifti
from tests.training.asking import train as train_alone
from tests.training.asking import train_with_first_stage as train

CASES, SIDE = 3, 40
LARGE_SIDE, SMALL_GB = 112, 0.6
"""Scans of which a patch within that budget covers less than a quarter."""
STAGES = ("3d_lowres", "3d_cascade_fullres")
SHORT = (
    "training.epochs=1",
    "training.iterations_per_epoch=2",
    "training.validation_iterations=1",
    "training.precision=fp32",
    "training.mirror_axes=",
    *(f"{stage}.patch_size=24,24,24" for stage in STAGES),
    *(f"{stage}.network.features=4,4,4,4" for stage in STAGES),
    *(f"{stage}.network.encoder_blocks=1,1,1,1" for stage in STAGES),
)


def write_dataset(folder: Path, *, side: int = SIDE) -> Path:
    """Bright boxes with a brighter core in noise, in nnU-Net's layout; label values 2 and 5."""
    for number in range(CASES):
        rng = np.random.default_rng(number)
        labels = np.zeros((side,) * 3, dtype=np.uint8)
        first = 6 + 6 * number
        labels[first : first + 16, 12:28, 10:26] = 2
        labels[first + 5 : first + 10, 17:22, 15:20] = 5
        voxels = labels + 0.3 * rng.standard_normal(labels.shape, dtype=np.float32)
        write_nifti(folder / "imagesTr" / f"box_{number}_0000.nii", voxels)
        write_nifti(folder / "labelsTr" / f"box_{number}.nii", labels)
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "box": 2, "core": 5},
        "numTraining": CASES,
        "file_ending": ".nii",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@dataclass(frozen=True)
class Trained:
    """A data set with both stages trained, what the command said, and a folder with one scan to predict."""

    folder: DatasetFolder
    said: str
    scans: Path

    @property
    def first(self) -> Path:
        return self.folder.models / "3d_lowres"

    @property
    def second(self) -> Path:
        return self.folder.models / "3d_cascade_fullres"

    @property
    def found(self) -> Path:
        return self.folder.preprocessed("3d_cascade_fullres") / "3d_lowres"


def cascade(folder: DatasetFolder, *, settings=SHORT, folds=("0",), **options):
    return train(folder, "3d_cascade_fullres", folds=folds, settings=settings, workers=1, device="cpu", **options)


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> DatasetFolder:
    root = tmp_path_factory.mktemp("cascade")
    workspace = open_workspace(root / "workspace")
    raw = write_dataset(root / "Dataset001_Boxes")
    found = plan(raw, workspace=workspace, workers=1)
    folder = workspace.dataset(found.dataset)
    save(with_low_resolution(found), folder.plan_file)
    return folder


def with_low_resolution(found: Plan) -> Plan:
    """The plan with the two more configurations that it would have for larger scans."""
    full = found.configurations["3d_fullres"]
    low = full.model_copy(update={"name": "3d_lowres", "spacing_mm": (1.6, 1.6, 1.6)})
    second = full.model_copy(update={"name": "3d_cascade_fullres", "previous_stage": "3d_lowres"})
    every = {**found.configurations, "3d_lowres": low, "3d_cascade_fullres": second}
    return found.model_copy(update={"configurations": every})


@pytest.fixture(scope="module")
def trained(planned, tmp_path_factory) -> Trained:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("autoseg")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        cascade(planned)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    scans = tmp_path_factory.mktemp("scans")
    raw = planned.path.parents[1] / "Dataset001_Boxes"
    shutil.copy(raw / "imagesTr" / "box_1_0000.nii", scans / "new_0000.nii")
    return Trained(folder=planned, said="\n".join(lines), scans=scans)


@pytest.fixture
def copied(trained, tmp_path) -> Trained:
    """The same on a copy that a test may spoil."""
    shutil.copytree(trained.folder.path, tmp_path / "workspace" / trained.folder.path.name)
    return Trained(DatasetFolder(tmp_path / "workspace" / trained.folder.path.name), trained.said, trained.scans)


@pytest.mark.slow
def test_a_small_memory_budget_plans_both_stages_and_they_are_trained_and_predict(tmp_path):
    workspace = open_workspace(tmp_path / "workspace")
    raw = write_dataset(tmp_path / "Dataset002_LargeBoxes", side=LARGE_SIDE)
    found = plan(raw, workspace=workspace, workers=1, gpu_memory_gb=SMALL_GB)
    second = found.configurations["3d_cascade_fullres"]
    assert second.previous_stage == "3d_lowres"
    assert second.spacing_mm == found.configurations["3d_fullres"].spacing_mm
    assert found.configurations["3d_lowres"].spacing_mm[0] > 1.2
    assert (found.input_channels(second), found.input_channels(found.configurations["3d_lowres"])) == (3, 1)
    wide = tuple(f"{stage}.patch_size=64,64,64" for stage in STAGES)
    (result,) = cascade(workspace.dataset(found.dataset), settings=(*SHORT, *wide))
    scan = raw / "imagesTr" / "box_0_0000.nii"
    report = predict(scan, tmp_path / "out", models=[result.model], step=1.0, device="cpu")
    assert not report.failed


def test_the_command_trains_its_first_stage_by_itself_and_says_what_it_learns_from(trained):
    assert open_model(trained.first).folds == ("0", "1", "2")
    assert open_model(trained.second).folds == ("0",)
    assert "3d_cascade_fullres: trains its first stage 3d_lowres before, fold 0, 1, 2" in trained.said
    assert "first stage: out-of-fold predictions of 3d_lowres folds 0-2" in trained.said
    stage = load(PreviousStage, trained.second / PREVIOUS_FILE, remake="")
    assert (stage.model, stage.configuration, stage.folds) == ("../3d_lowres", "3d_lowres", ("0", "1", "2"))


def says_always(model: Path, fold: str, answer: int) -> None:
    """Make a fold of a model answer the same class everywhere."""
    file = model / f"fold_{fold}" / "weights_final.safetensors"
    weights = load_weights(file, remake="")
    for tensor in weights.values():
        if len(tensor) == 3:  # the last layers have an output for each of three classes
            tensor.zero_()
            if tensor.ndim == 1:
                tensor[answer] = 1
    save_weights(weights, file)


def test_each_case_is_found_by_the_fold_that_was_not_trained_on_it(copied):
    before = {file.name: file.stat().st_mtime_ns for file in copied.found.glob("*.npy")}
    cascade(copied.folder)
    assert {file.name: file.stat().st_mtime_ns for file in copied.found.glob("*.npy")} == before
    for answer, fold in enumerate(("0", "1", "2")):
        says_always(copied.first, fold, answer)
    with pytest.raises(TrainingError, match=r"3d_lowres, whose findings it refines, was trained anew.*--restart"):
        cascade(copied.folder)
    (result,) = cascade(copied.folder, restart=True)
    assert not result.was_finished
    splits = open_model(copied.first).splits
    for answer, fold in enumerate(splits.names):
        _, (id_,) = splits.fold(fold)
        assert np.unique(np.load(copied.found / f"{id_}.npy")).tolist() == [answer]
        case = open_map(copied.found, id_, shape=(SIDE,) * 3)
        assert int(case[0, 0, 0]) == answer


def test_cases_of_the_full_resolution_are_stored_once(trained):
    assert not (trained.folder.preprocessed("3d_cascade_fullres") / "cases").exists()
    assert len(list((trained.folder.preprocessed("3d_fullres") / "cases").glob("*.image.npy"))) == CASES
    case = open_case(trained.folder.preprocessed("3d_fullres"), "box_0")
    found = np.load(trained.found / "box_0.npy", mmap_mode="r")
    assert (found.shape, found.dtype) == (case.classes.shape, np.int8)


def test_a_prediction_resolves_both_stages_by_itself(trained, tmp_path):
    models = choose_models(trained.folder, configurations=["3d_cascade_fullres"])
    report = predict(
        trained.scans, tmp_path / "out", models=models, mirroring=False, step=1.0, precision="fp32", device="cpu"
    )
    assert not report.failed
    assert report.configurations == ("3d_cascade_fullres",)
    assert report.notes == ("3d_cascade_fullres: first stage 3d_lowres, folds 0, 1, 2",)
    values, _ = read_labels(tmp_path / "out" / "new.nii")
    assert values.shape == (SIDE,) * 3
    assert set(np.unique(values)) <= {0, 2, 5}
    image = read_image(trained.scans / "new_0000.nii")
    exact = Settings(precision="fp32", device="cpu", step=1.0, mirroring="none")
    first = Predictor.open(trained.first, settings=exact).predict(image)
    assert_refined(trained, image, first.labels, values)


def assert_refined(trained, image, found, values):
    """The second stage by hand: the image normalised, masks of what the first found, one window after the other."""
    model = open_model(trained.second)
    prepared = prepare(image, model.plan, model.configuration)
    classes = torch.from_numpy(model.plan.labels.encode(found))
    seen = torch.cat([torch.from_numpy(prepared.image), as_masks(classes, labels=2)])
    logits = predict_logits([load_network(model, "0")], seen, Sweep(model.configuration.patch_size, 3, step=1.0))
    expected = model.plan.labels.decode(logits.argmax(0).numpy())
    assert (expected == values).mean() > 0.999


def test_the_second_stage_listens_to_the_first(trained):
    model = open_model(trained.second)
    network = load_network(model, "0")
    image = torch.zeros(1, 3, *model.configuration.patch_size)
    with_box = image.clone()
    with_box[:, 1, 8:16, 8:16, 8:16] = 1
    with torch.no_grad():
        assert not torch.equal(network(image), network(with_box))


def test_a_cascade_and_a_single_stage_are_averaged(trained, tmp_path):
    models = [trained.second, trained.first]
    report = predict(trained.scans, tmp_path / "out", models=models, folds=["0"], mirroring=False, step=1.0, device="cpu")
    assert not report.failed
    assert report.configurations == ("3d_cascade_fullres", "3d_lowres")


def test_a_first_stage_that_is_gone_or_trained_anew_is_an_error(copied):
    moved = copied.first.rename(copied.first.with_name("elsewhere"))
    with pytest.raises(ArtefactError, match=r"which is not at .*3d_lowres any more"):
        open_ensemble([copied.second])
    moved.rename(copied.first)
    open_ensemble([copied.second])
    weights = [copied.first / f"fold_{fold}" / "weights_final.safetensors" for fold in "01"]
    shutil.copy(*weights)
    with pytest.raises(StaleError, match=r"trained anew since.*autoseg_train 3d_cascade_fullres.*--restart"):
        open_ensemble([copied.second])
    weights[1].unlink()
    with pytest.raises(StaleError, match="fold 1 is gone since"):
        open_ensemble([copied.second])


def test_both_folders_moved_together_still_predict(copied, tmp_path):
    copied.folder.models.rename(tmp_path / "moved")
    found = open_ensemble([tmp_path / "moved" / "3d_cascade_fullres"])
    (member,) = found.members
    assert (len(member.networks), len(member.previous.networks)) == (1, CASES)


def test_a_first_stage_trained_on_all_cases_alone_is_refused(planned, tmp_path):
    folder = fresh(planned, tmp_path)
    train_alone(folder, "3d_lowres", folds=["all"], settings=SHORT, workers=1, device="cpu")
    with pytest.raises(TrainingError, match=r"it has seen every case.*autoseg_train 3d_lowres -d \w+ -f 0,1,2$"):
        cascade(folder)


def test_a_time_budget_asks_for_the_first_stage_with_the_exact_command(planned, tmp_path):
    with pytest.raises(TrainingError, match=r"autoseg_train 3d_lowres -d \w+ -f 0,1,2 --time-budget TIME"):
        cascade(fresh(planned, tmp_path), time_budget_s=60)


def test_a_first_stage_begun_with_other_settings_names_the_command_to_finish_it(copied):
    shutil.rmtree(copied.first / "fold_2")
    with pytest.raises(TrainingError, match=r"first stage 3d_lowres.*training.epochs: 1 -> 3.*3d_lowres -d \w+ -f 2"):
        cascade(copied.folder, settings=(*SHORT, "training.epochs=3"))


def test_the_second_stage_is_not_trained_without_the_first(planned, tmp_path):
    with pytest.raises(TrainingError, match="refines what 3d_lowres finds"):
        train_alone(fresh(planned, tmp_path), "3d_cascade_fullres", folds=["0"], settings=SHORT)


def test_a_configuration_of_one_stage_is_trained_as_ever(copied):
    (result,) = train(copied.folder, "3d_lowres", folds=["0"], name="again", settings=SHORT, workers=1, device="cpu")
    assert not (result.model / PREVIOUS_FILE).exists()


def test_the_command_runs_both_stages_and_refuses_with_one_message(copied, planned, tmp_path):
    def called(folder, *words):
        options = [word for setting in SHORT for word in ("--set", setting)]
        place = ["-w", str(folder.path.parent), "-d", folder.path.name, "-f", "0", "--device", "cpu"]
        return CliRunner().invoke(main, ["3d_cascade_fullres", *place, *options, *words])

    done = called(copied.folder, "--json")
    assert done.exit_code == 0, done.output
    (result,) = json.loads(done.stdout)
    assert (result["was_finished"], Path(result["model"]).name) == (True, "3d_cascade_fullres")
    refused = called(fresh(planned, tmp_path / "fresh"), "--time-budget", "30m")
    assert refused.exit_code == 2
    assert "autoseg_train 3d_lowres -d" in refused.stderr
    assert "Traceback" not in refused.output


def fresh(planned: DatasetFolder, tmp_path: Path) -> DatasetFolder:
    """The planned data set without models."""
    found = DatasetFolder(tmp_path / planned.path.name)
    shutil.copytree(planned.path, found.path)
    shutil.rmtree(found.models, ignore_errors=True)
    return found


def test_a_case_that_every_fold_is_trained_on_is_refused():
    splits = Splits(folds=(Fold(train=("a", "b"), validation=("c",)), Fold(train=("a", "c"), validation=("b",))))
    assert unseen_by(splits, ["b", "c", "d"]) == {"b": "1", "c": "0", "d": "0"}
    with pytest.raises(TrainingError, match="case a: every fold"):
        unseen_by(splits, ["a"])


@pytest.mark.parametrize(
    ("folds", "shown"), [(["0", "1", "2", "3", "4"], "0-4"), (["0", "2"], "0, 2"), (["1"], "1"), (["0", "all"], "0, all")]
)
def test_folds_are_shown_as_a_range_where_they_are_one(folds, shown):
    assert shown_folds(folds) == shown
