"""Folds in processes of their own, side by side on this machine's processor."""

import signal

import pytest
import torch

from autoseg.cli.folds_display import plain_lines
from autoseg.errors import TrainingError
from autoseg.training.checkpoint import CURRENT, load_checkpoint
from autoseg.training.observers import Unwatched
from autoseg.training.side_by_side import LOG_FILE, Beside, rounds
from tests.training.test_run import planned, run, weights_of
from tests.training.test_torchrun import start, wait_for

__all__ = ["planned"]  # a fixture that is imported

TWO = ("cpu", "cpu")


@pytest.mark.parametrize(("folds", "places", "expected"), [(5, 0, 5), (5, 1, 5), (5, 2, 3), (5, 5, 1), (2, 8, 1)])
def test_the_busiest_place_sets_how_many_folds_share_a_budget(folds, places, expected):
    assert rounds(folds, places) == expected


def test_no_more_places_than_folds():
    assert Beside(devices=TWO).places("auto", folds=1) == ("cpu",)
    assert Beside(devices=TWO).places("auto", folds=5) == TWO
    assert Beside().places("cpu", folds=5) == ()


class Told(Unwatched):
    def __init__(self, told, fold):
        self.told, self.fold = told, fold

    def started(self, start):
        self.told.append((self.fold, "started"))

    def epoch_ended(self, history):
        self.told.append((self.fold, history[-1].epoch))

    def warned(self, message):
        self.told.append((self.fold, message))

    def ended(self):
        self.told.append((self.fold, "ended"))


@pytest.mark.slow
def test_a_fold_that_fails_does_not_stop_the_others_and_is_named_at_the_end(planned):
    run(planned, name="alone", folds=("0",))
    damaged = planned.folder.models / "beside" / "fold_1" / CURRENT
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no checkpoint")
    told = []
    beside = Beside(devices=TWO, shown=lambda fold: Told(told, fold), logged=plain_lines)
    with pytest.raises(TrainingError, match=r"1 of 3 folds failed \(trained: 0, 2\)") as failure:
        run(planned, name="beside", folds=("0", "1", "2"), beside=beside)
    assert "truncated or damaged" in str(failure.value)
    for fold in ("0", "2"):
        assert [event for name, event in told if name == fold] == ["started", 0, 1, "ended"]
    first, second = weights_of(planned, "alone"), weights_of(planned, "beside")
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)
    logs = [(planned.folder.models / "beside" / f"fold_{fold}" / LOG_FILE).read_text() for fold in range(3)]
    assert "epoch 1: 3 steps" in logs[0]
    assert "error" in logs[1]
    assert "Traceback" not in logs[1]

    damaged.unlink()
    results = run(planned, name="beside", folds=("0", "1", "2"), beside=beside)
    assert [result.was_finished for result in results] == [True, False, True]


@pytest.mark.slow
def test_one_interrupt_makes_all_folds_write_their_checkpoints(planned):
    length = ("--epochs", "500", "--iterations", "3", "--devices", "cpu,cpu", "-f", "1")
    process = start(planned.folder, name="interrupted", length=length, device=())
    folders = [planned.folder.models / "interrupted" / f"fold_{fold}" for fold in range(2)]
    for folder in folders:
        wait_for(folder / CURRENT, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "the checkpoints are written" in errors
    assert all(load_checkpoint(folder)["position"]["epoch"] < 500 for folder in folders)
