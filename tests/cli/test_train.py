import pickle
import subprocess
import sys
from dataclasses import replace

import pytest

from autoseg.cli.console import _Bars, _Lines
from autoseg.cli.folds_display import FoldsDisplay
from autoseg.cli.train import devices_of, overrides, seconds_of
from autoseg.cli.train_display import TrainingDisplay, epoch_line, step_line
from autoseg.errors import TrainingError
from autoseg.training.history import EpochRow
from autoseg.training.observers import Start, Step

STEP = Step(
    epoch=3,
    epochs=10,
    iteration=7,
    iterations=50,
    loss=0.12345,
    learning_rate=0.0075,
    step_s=1.234,
    waiting_share=0.021,
    progress=0.314,
    left_s=3725.0,
)
ROW = EpochRow(
    epoch=2,
    steps=50,
    learning_rate=0.008,
    train_loss=-0.5,
    validation_loss=None,
    pseudo_dice=(0.75, None),
    mean_pseudo_dice=0.75,
    ema_pseudo_dice=0.6,
    seconds=61.0,
    seconds_per_step=1.2,
    waiting_share=0.02,
    elapsed_s=183.0,
    skipped_steps=0,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("20m", 1200), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800), ("1H 5M", 3900)]
)
def test_times_are_read_with_their_units(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["20", "soon", "0m", "", "-5m", "20 minutes"])
def test_times_without_a_proper_unit_are_refused(text):
    with pytest.raises(TrainingError, match="expected a time with its unit"):
        seconds_of(text)


def test_options_become_settings_and_come_last():
    found = overrides(("training.loss=ce",), epochs=5, iterations=None, seed=0)
    assert found == ["training.loss=ce", "training.epochs=5", "training.seed=0"]


def test_the_live_line_says_where_a_training_stands():
    assert step_line(STEP, ROW) == (
        " 31% | epoch 3/10 step 7/50 | loss 0.123 | pseudo-Dice 0.600 | lr 0.0075 | 1.23 s/step | waiting 2% | "
        "left 1 h 02 min"
    )
    assert "pseudo-Dice - |" in step_line(STEP, None)
    shown = step_line(replace(STEP, memory_bytes=3 << 29), ROW, ("whole", "core"))
    assert "pseudo-Dice 0.600 (whole 0.750, core -) | lr" in shown
    assert "waiting 2% | 1.5 GiB | left" in shown


def test_the_line_of_an_epoch_names_every_output():
    assert epoch_line(ROW, ("whole", "core")) == (
        "epoch 2: 50 steps, loss -0.500 / -, pseudo-Dice 0.750 (average 0.600; whole 0.750, core -), 1.20 s/step, "
        "waiting 2%, 3 min 03 s so far"
    )


def test_without_a_terminal_epochs_and_warnings_are_plain_lines(capsys):
    shown = TrainingDisplay(live=False)
    shown.started(
        Start(
            configuration="2d",
            fold="all",
            device="cpu",
            precision="fp32",
            parameters=1_500_000,
            training_cases=8,
            validation_cases=8,
            epochs=None,
            budget_s=1200.0,
            first_epoch=4,
            output_names=("whole", "core"),
        )
    )
    shown.stepped(STEP)
    shown.epoch_ended([ROW])
    shown.warned("loss is not finite")
    shown.ended()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (
        "2d, fold all: 8 cases to train on and to judge it on, so that scores flatter; 1.5 million parameters, "
        "fp32 on cpu; 20 min 00 s; resumed at epoch 4, step 0"
    )
    assert lines[1].startswith("epoch 2: 50 steps")
    assert lines[2:] == ["warning: loss is not finite"]


def test_an_empty_workspace_is_the_users_fault(tmp_path):
    command = [sys.executable, "-c", "from autoseg.cli.train import main; main()", "3d_fullres", "-w", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "no data set has been planned here" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "devices"),
    [(None, []), ("0,1", ["cuda:0", "cuda:1"]), ("cpu, cpu", ["cpu", "cpu"]), ("cuda:2,", ["cuda:2"])],
)
def test_numbers_of_devices_are_those_of_gpus(text, devices):
    assert devices_of(text, device="auto", ranks=1) == devices


@pytest.mark.parametrize(("device", "ranks", "other"), [("cpu", 1, "--device cpu"), ("auto", 2, "torchrun")])
def test_devices_for_folds_side_by_side_are_refused_beside_another_choice(device, ranks, other):
    with pytest.raises(TrainingError, match=other):
        devices_of("0,1", device=device, ranks=ranks)


def test_folds_side_by_side_are_shown_as_lines_that_name_them(capsys):
    shown = FoldsDisplay(live=False).of("3")
    shown.stepped(STEP)
    shown.epoch_ended([ROW])
    shown.warned("its process ended")
    shown.ended()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("fold 3: epoch 2: 50 steps")
    assert lines[1] == "fold 3: warning: its process ended"


def test_the_live_display_of_folds_ends_with_the_last_of_them(capsys):
    display = FoldsDisplay(live=True)
    first, second = display.of("0"), display.of("1")
    for shown in (first, second):
        shown.stepped(STEP)
    first.ended()
    second.epoch_ended([ROW])
    second.ended()
    assert "fold 1: epoch 2" in capsys.readouterr().err


def test_progress_bars_become_lines_in_another_process():
    again = pickle.loads(pickle.dumps(_Bars()))
    assert isinstance(again, _Lines)
