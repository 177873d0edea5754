"""Whole held-out cases: now and then while a fold is trained, and all of them at its end."""

import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from autoseg.artefacts import load, save
from autoseg.cli.console import bars
from autoseg.cli.train import main
from autoseg.data.readers import read_labels
from autoseg.evaluation.evaluate import Evaluation
from autoseg.planning.plan import Plan
from autoseg.planning.run import plan
from autoseg.prediction.report import REPORT_FILE, PredictionReport
from autoseg.prediction.run import predict
from autoseg.prediction.stored import whole_case_dice
from autoseg.preprocessing.store import open_case
from autoseg.training.model_folder import open_model
from autoseg.training.observers import Unwatched
from autoseg.validation import WholeCases
from autoseg.workspace import open_workspace
from tests.training.asking import train_with_first_stage as train
from tests.training.test_run import SHORT, write_dataset


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    root = tmp_path_factory.mktemp("validation")
    workspace = open_workspace(root / "workspace")
    raw = write_dataset(root / "Dataset001_Cubes")
    found = plan(raw, workspace=workspace, workers=1)
    stages = len(found.configurations["3d_fullres"].network.strides)
    small = f"3d_fullres.network.features={','.join(['4'] * stages)}"
    return SimpleNamespace(small=small, folder=workspace.dataset(found.dataset), raw=raw, workspace=workspace)


def run(planned, *, settings=(), folds=("0",), judge=None, name="judged", **options):
    return train(
        planned.folder,
        "3d_fullres",
        folds=folds,
        name=name,
        settings=[*SHORT, planned.small, *settings],
        workers=1,
        device="cpu",
        judge=judge or WholeCases(planned.folder, workers=1),
        **options,
    )


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_at_its_end_a_fold_is_judged_on_its_held_out_cases_as_the_commands_would(planned, tmp_path):
    (result,) = run(planned)
    folder = result.model / "fold_0" / "validation"
    (held_out,) = open_model(result.model).splits.fold("0")[1]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [f"{held_out}.nii.gz", "prediction.json", "evaluation.json", "per_case.csv"]
    )
    evaluation = load(Evaluation, folder / "evaluation.json", remake="")
    assert result.scores.cases == 1
    assert result.scores.mean_dice == evaluation.foreground_labels["dice"].mean
    image = planned.raw / "imagesTr" / f"{held_out}_0000.nii.gz"
    predict(image, tmp_path, models=[result.model], folds=["0"], device="cpu")
    found, geometry = read_labels(folder / f"{held_out}.nii.gz")
    expected, expected_geometry = read_labels(next(tmp_path.glob("*.nii.gz")))
    # Stored images are in half precision.
    assert np.mean(found == expected) > 0.99
    assert geometry.shape == expected_geometry.shape
    before = times(folder)
    (again,) = run(planned)
    assert (again.was_finished, again.scores) == (True, result.scores)
    assert times(folder) == before


def test_only_what_is_missing_or_of_other_weights_is_predicted_again(planned):
    (result,) = run(planned, name="missing", folds=("1",))
    folder = result.model / "fold_1" / "validation"
    (prediction,) = folder.glob("*.nii.gz")
    prediction.unlink()
    (again,) = run(planned, name="missing", folds=("1",))
    assert prediction.exists()
    assert again.scores == result.scores
    before = times(folder)
    run(planned, name="missing", folds=("1",), settings=["training.seed=5"], restart=True)
    assert times(folder)[prediction.name] != before[prediction.name]


def test_what_a_rule_has_corrected_is_predicted_again(planned):
    (result,) = run(planned, name="ruled")
    report = result.model / "fold_0" / "validation" / REPORT_FILE
    found = load(PredictionReport, report, remake="")
    save(found.model_copy(update={"rules": ("largest_component of cube",)}), report)
    before = report.stat().st_mtime_ns
    run(planned, name="ruled")
    assert report.stat().st_mtime_ns != before
    assert load(PredictionReport, report, remake="").rules == ()


def test_fold_all_has_nothing_held_out_and_says_so(planned, caplog):
    caplog.set_level("INFO")
    (result,) = run(planned, name="everything", folds=("all",))
    assert result.scores is None
    assert "fold all is trained on every case: none is left to judge it on" in caplog.text


class Watching(Unwatched):
    def __init__(self):
        self.rows = []

    def epoch_ended(self, history):
        self.rows = list(history)


def test_every_other_epoch_whole_cases_stand_beside_the_pseudo_dice(planned):
    seen = Watching()
    run(planned, name="often", settings=["training.epochs=4", "training.validate_every=2"], observer=seen)
    assert [len(row.case_dice) for row in seen.rows] == [0, 1, 0, 1]
    assert seen.rows[3].mean_case_dice == seen.rows[3].case_dice[0]


def test_a_judge_goes_to_another_process_without_its_progress_bar(planned):
    judge = WholeCases(planned.folder, progress=bars(False), workers=2)
    sent = pickle.loads(pickle.dumps(replace(judge, progress=Unsendable())))
    assert (sent.folder, sent.workers) == (judge.folder, 2)


class Unsendable:
    def __reduce__(self):
        raise TypeError("a bar holds locks")


class Always(torch.nn.Module):
    """Finds one class everywhere."""

    deep_supervision = True

    def __init__(self, found):
        super().__init__()
        self.found = found

    def forward(self, image):
        logits = torch.zeros(len(image), 2, *image.shape[2:])
        logits[:, self.found] = 1
        assert not self.deep_supervision
        return logits


def test_the_dice_of_whole_cases_worked_out_by_hand(planned):
    run(planned)
    chosen = load(Plan, planned.folder.plan_file, remake="")
    config = chosen.configurations["3d_fullres"]
    cases = [open_case(planned.folder.preprocessed("3d_fullres"), f"cube_{number}") for number in range(2)]
    shares = [(case.classes == 1).sum() / case.classes.size for case in cases]
    options = {"plan": chosen, "configuration": config, "device": torch.device("cpu")}
    (found,) = whole_case_dice(Always(1), cases, **options)
    assert found == pytest.approx(np.mean([2 * share / (1 + share) for share in shares]))
    assert whole_case_dice(Always(0), cases, **options) == (0.0,)


def test_the_command_prints_the_mean_dice_of_held_out_cases(planned):
    words = ["3d_fullres", "-f", "0", "--name", "command", "--device", "cpu", "-w", str(planned.workspace.root)]
    words += ["--epochs", "1", "--iterations", "2", "--set", "training.validation_iterations=1", "--set", planned.small]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, "; Dice " in done.stdout) == (0, True)
    assert " in 1 held-out cases (" in done.stdout
    again = CliRunner().invoke(main, [*words, "--json"])
    assert json.loads(again.stdout)[0]["validation"]["cases"] == 1
    without = CliRunner().invoke(main, [*words, "--json", "--no-validation"])
    assert json.loads(without.stdout)[0]["validation"] is None
