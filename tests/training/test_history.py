import csv

from autoseg.training.curves import draw_curves
from autoseg.training.history import EpochRow, moving_average, write_history


def row(epoch, **changes):
    values = {
        "epoch": epoch,
        "steps": 4,
        "learning_rate": 0.01,
        "train_loss": -0.25,
        "validation_loss": None,
        "pseudo_dice": (0.5, None),
        "mean_pseudo_dice": 0.5,
        "ema_pseudo_dice": 0.5,
        "seconds": 2.0,
        "seconds_per_step": 0.5,
        "waiting_share": 0.125,
        "elapsed_s": 2.0,
        "skipped_steps": 0,
    }
    return EpochRow(**(values | changes))


def test_the_moving_average_keeps_nine_tenths_and_passes_over_what_is_undefined():
    assert moving_average(None, 0.5) == 0.5
    assert moving_average(0.5, 1.0) == 0.9 * 0.5 + 0.1 * 1.0
    assert moving_average(0.5, None) == 0.5
    assert moving_average(None, None) is None


def test_the_table_has_a_column_per_output_and_leaves_undefined_values_empty(tmp_path):
    write_history([row(0), row(1)], tmp_path / "history.csv", output_names=("whole", "core"))
    lines = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [line["epoch"] for line in lines] == ["0", "1"]
    assert lines[0]["pseudo_dice whole"] == "0.5"
    assert lines[0]["pseudo_dice core"] == ""
    assert lines[0]["validation_loss"] == ""
    assert lines[0]["waiting_share"] == "0.125"


def test_curves_are_a_picture_even_with_gaps(tmp_path):
    path = tmp_path / "progress.png"
    draw_curves([row(0), row(1, mean_pseudo_dice=None, ema_pseudo_dice=None)], path, output_names=("whole", "core"))
    assert path.read_bytes().startswith(b"\x89PNG")
