import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autoseg.artefacts import load, save
from autoseg.data.splits import make_splits
from autoseg.errors import ArtefactError, StaleError, TrainingError, UnknownNameError
from autoseg.lock import locked
from autoseg.planning.run import plan
from autoseg.training.checkpoint import CURRENT, PREVIOUS
from autoseg.training.model_folder import ModelCard, load_network, open_model
from autoseg.training.observers import Unwatched
from autoseg.training.self_test import SelfTest
from autoseg.workspace import open_workspace
from tests.prediction.small import scan, write_nifti
from tests.training.asking import train

SHORT = (
    "training.epochs=2",
    "training.iterations_per_epoch=3",
    "training.validation_iterations=1",
    "training.precision=fp32",
)
CASES = 5


def write_dataset(folder):
    """Bright cubes in smooth noise, in nnU-Net's layout."""
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "cube": 1},
        "numTraining": CASES,
        "file_ending": ".nii.gz",
    }
    for number in range(CASES):
        voxels, labels = scan(12, 12, 12, seed=number), np.zeros((12, 12, 12), dtype=np.uint8)
        corner = 2 + number % 3
        labels[corner : corner + 5, 3:8, 3:8] = 1
        write_nifti(folder / "imagesTr" / f"cube_{number}_0000.nii.gz", (voxels + 6 * labels).astype(np.float32))
        write_nifti(folder / "labelsTr" / f"cube_{number}.nii.gz", labels)
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A planned data set, preprocessed by the first test that trains on it."""
    root = tmp_path_factory.mktemp("run")
    workspace = open_workspace(root / "workspace")
    raw = write_dataset(root / "Dataset001_Cubes")
    found = plan(raw, workspace=workspace, workers=1)
    return SimpleNamespace(
        folder=workspace.dataset(found.dataset),
        workspace=workspace,
        stages=len(found.configurations["3d_fullres"].network.strides),
    )


def run(planned, *, settings=SHORT, name="model", folds=("0",), **options):
    return train(
        planned.folder, "3d_fullres", folds=folds, name=name, settings=settings, workers=1, device="cpu", **options
    )


def weights_of(planned, name, fold="0"):
    model = open_model(planned.folder.models / name)
    return load_network(model, fold).state_dict()


def test_a_run_writes_a_model_folder_that_can_be_opened(planned):
    (result,) = run(planned, name="written")
    folder = planned.folder.models / "written"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    events = {name for name in files if name.startswith("fold_0/tensorboard/events.out.tfevents.")}
    files -= events
    assert len(events) == 1
    fold = {f"fold_0/{name}" for name in ("weights_final.safetensors", "weights_best.safetensors")}
    fold |= {"fold_0/history.csv", "fold_0/history.jsonl", "fold_0/progress.png", "fold_0/fold.json"}
    assert files == {"plan.json", "model.json", "splits.json", "self_test.json"} | fold
    assert (result.card.epochs, result.card.steps, result.card.finished, result.was_finished) == (2, 6, True, False)
    model = open_model(folder)
    assert (model.folds, model.configuration.name, model.card.name) == (("0",), "3d_fullres", "written")
    network = load_network(model, "0", which="best")
    assert not network.training
    patch = torch.zeros(1, 1, *model.configuration.patch_size)
    assert network(patch).shape == (1, 2, *model.configuration.patch_size)


def test_how_steps_are_computed_and_why_stands_in_the_model_folder_from_its_beginning_on(planned):
    run(planned, name="tested")
    file = planned.folder.models / "tested" / "self_test.json"
    before = file.read_text()
    found = load(SelfTest, file, remake="")
    assert found.taken == open_model(file.parent).card.variant
    assert found.because.startswith("too few steps (6)")
    run(planned, name="tested", folds=("1",))
    assert file.read_text() == before


def test_a_finished_fold_is_left_alone_and_restart_trains_it_anew(planned):
    run(planned, name="finished")
    before = weights_of(planned, "finished")
    (again,) = run(planned, name="finished")
    assert again.was_finished
    (anew,) = run(planned, name="finished", restart=True)
    assert not anew.was_finished
    after = weights_of(planned, "finished")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_other_settings_are_refused_naming_them_and_the_ways_out(planned):
    run(planned, name="strict")
    with pytest.raises(TrainingError, match=r"training.learning_rate: 0.01 -> 0.5.*--name.*--restart"):
        run(planned, name="strict", settings=(*SHORT, "training.learning_rate=0.5"))
    with pytest.raises(TrainingError, match="time budget of fold 0: none -> 1 min"):
        run(planned, name="strict", time_budget_s=60)
    with pytest.raises(TrainingError, match="configuration: 3d_fullres -> 2d"):
        train(planned.folder, "2d", name="strict", folds=("1",), settings=SHORT, workers=1)
    (result,) = run(planned, name="strict", settings=(*SHORT, "training.learning_rate=0.5"), restart=True)
    assert result.card.finished


class StopsAfter(Unwatched):
    """Asks this very process to stop, as Ctrl-C does, after so many steps."""

    def __init__(self, steps, number=signal.SIGINT):
        self.steps, self.number = steps, number

    def stepped(self, step):
        self.steps -= 1
        if self.steps == 0:
            os.kill(os.getpid(), self.number)


def test_a_training_of_many_steps_tries_first_what_is_fastest(planned):
    long = ("training.epochs=2", "training.iterations_per_epoch=500", *SHORT[2:])
    with pytest.raises(KeyboardInterrupt):
        run(planned, name="tried", settings=long, observer=StopsAfter(1))
    found = load(SelfTest, planned.folder.models / "tried" / "self_test.json", remake="")
    *tried, compiled = found.tried
    assert tried[0].variant == "plain"
    assert len(tried) == 3
    assert all(one.step_s > 0 and one.ready_s >= 0 for one in tried)
    assert "compil" in compiled.left_out
    assert found.taken in {one.variant for one in tried}
    assert load(ModelCard, planned.folder.models / "tried" / "model.json", remake="").variant == found.taken


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_resumes_to_the_very_weights_of_an_unbroken_one(planned, number):
    run(planned, name="unbroken")
    name = f"broken{int(number)}"
    with pytest.raises(KeyboardInterrupt, match="same command"):
        run(planned, name=name, observer=StopsAfter(4, number))
    (result,) = run(planned, name=name)
    assert result.card.steps == 6
    first, second = weights_of(planned, "unbroken"), weights_of(planned, name)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not (planned.folder.models / name / "fold_0" / CURRENT).exists()


def test_a_truncated_checkpoint_falls_back_and_two_are_an_error(planned, caplog):
    with pytest.raises(KeyboardInterrupt):
        run(planned, name="truncated", observer=StopsAfter(4))
    fold = planned.folder.models / "truncated" / "fold_0"
    whole = (fold / CURRENT).read_bytes()
    (fold / CURRENT).write_bytes(whole[:1000])
    (fold / PREVIOUS).write_bytes(whole[:1000])
    with pytest.raises(ArtefactError, match="--restart"):
        run(planned, name="truncated")
    (fold / PREVIOUS).write_bytes(whole)
    (result,) = run(planned, name="truncated")
    assert result.card.steps == 6
    assert "falling back" in caplog.text


def test_truncated_weights_name_the_file_and_the_command(planned):
    run(planned, name="shortened")
    path = planned.folder.models / "shortened" / "fold_0" / "weights_final.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    model = open_model(planned.folder.models / "shortened")
    with pytest.raises(ArtefactError, match=r"weights_final.safetensors.*autoseg_train 3d_fullres.*-f 0 --restart"):
        load_network(model, "0")
    with pytest.raises(UnknownNameError, match="trained fold"):
        load_network(model, "1")


def test_a_folder_in_which_another_run_trains_is_refused(planned):
    with locked(planned.folder.models / "taken" / "fold_0"), pytest.raises(TrainingError, match="another run"):
        run(planned, name="taken")


def test_a_fold_all_and_several_folds_share_one_model(planned):
    results = run(planned, name="several", folds=("0", "all"))
    assert [result.card.fold for result in results] == ["0", "all"]
    assert open_model(planned.folder.models / "several").folds == ("0", "all")


def test_a_time_budget_trains_at_least_a_step_and_shares_the_time(planned):
    begun = time.monotonic()
    results = run(planned, name="timed", folds=("0", "1"), time_budget_s=6)
    assert [result.card.budget_s for result in results] == [3, 3]
    assert all(result.card.steps >= 1 for result in results)
    # That a budget is kept is tested with a clock of its own (test_loop.py): here other work takes its share.
    assert all(1.5 < result.card.seconds < 12 for result in results)
    assert time.monotonic() - begun < 40


def test_unknown_configurations_and_folds_are_refused_with_the_nearest(planned):
    with pytest.raises(UnknownNameError, match="Did you mean '3d_fullres'"):
        train(planned.folder, "3d_fulres")
    with pytest.raises(UnknownNameError, match="unknown fold '7'"):
        run(planned, folds=("7",))
    with pytest.raises(UnknownNameError, match=r"Did you mean 'training.epochs'"):
        run(planned, settings=("training.epoch=2",))


def test_a_data_set_that_has_changed_since_it_was_planned_is_refused(tmp_path):
    raw = write_dataset(tmp_path / "Dataset001_Cubes")
    found = plan(raw, workspace=open_workspace(tmp_path / "workspace"), workers=1)
    write_nifti(raw / "labelsTr" / "cube_0.nii.gz", np.ones((12, 12, 12), dtype=np.uint8))
    with pytest.raises(StaleError, match=r"cube_0.*autoseg_plan"):
        train(open_workspace(tmp_path / "workspace").dataset(found.dataset), "3d_fullres", settings=SHORT, workers=1)


def test_cases_that_are_in_no_fold_are_named(tmp_path, caplog):
    raw = write_dataset(tmp_path / "Dataset001_Cubes")
    found = plan(raw, workspace=open_workspace(tmp_path / "workspace"), workers=1)
    folder = open_workspace(tmp_path / "workspace").dataset(found.dataset)
    save(make_splits([f"cube_{number}" for number in range(CASES - 1)]), folder.splits_file)
    with pytest.raises(UnknownNameError, match="unknown fold '7'"):
        train(folder, "3d_fullres", folds=["7"])
    assert "1 of 5 cases in no fold" in caplog.text
    assert "cube_4" in caplog.text


def test_the_command_trains_and_prints_its_results_for_machines(planned):
    command = [sys.executable, "-c", "from autoseg.cli.train import main; main()", "3d_fullres", "-f", "0", "--json"]
    command += ["--name", "command", "--device", "cpu", "-w", str(planned.workspace.root), "--seed", "3", "--epochs", "1"]
    command += ["--iterations", "2", "--set", "training.validation_iterations=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    (result,) = json.loads(done.stdout)
    assert (result["fold"], result["steps"], result["finished"]) == ("0", 2, True)
