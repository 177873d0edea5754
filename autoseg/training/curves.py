"""The curves of a training as a picture: losses, pseudo-Dice, learning rate and speed over epochs."""

import logging
from collections.abc import Sequence
from pathlib import Path

from autoseg.artefacts import written_whole
from autoseg.training.history import EpochRow


def draw_curves(rows: Sequence[EpochRow], path: Path, *, output_names: Sequence[str]) -> None:
    """Draw `rows` to a PNG file of three panels; undefined values are gaps."""
    # Figure and canvas without pyplot: no window system, no global state.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells everyone that it builds its cache
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 10), layout="constrained")
    FigureCanvasAgg(figure)
    losses, overlaps, speed = figure.subplots(3, 1, sharex=True)
    epochs = [row.epoch for row in rows]
    marker = "." if len(rows) < 50 else ""

    losses.plot(epochs, _gaps([row.train_loss for row in rows]), marker=marker, label="training")
    losses.plot(epochs, _gaps([row.validation_loss for row in rows]), marker=marker, label="validation")
    losses.set_ylabel("loss")
    losses.legend()

    for index, name in enumerate(output_names):
        overlaps.plot(epochs, _gaps([row.pseudo_dice[index] for row in rows]), marker=marker, label=name, alpha=0.6)
    overlaps.plot(epochs, _gaps([row.ema_pseudo_dice for row in rows]), color="black", label="moving average of the mean")
    overlaps.set_ylabel("pseudo-Dice")
    overlaps.set_ylim(0, 1)
    overlaps.legend()

    speed.plot(epochs, [row.seconds_per_step for row in rows], marker=marker, color="tab:gray")
    speed.set_ylabel("seconds per step (grey)")
    speed.set_xlabel("epoch")
    rates = speed.twinx()
    rates.plot(epochs, [row.learning_rate for row in rows], color="tab:green")
    rates.set_ylabel("learning rate (green)")

    with written_whole(path) as file:
        figure.savefig(file, format="png", dpi=80)


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
