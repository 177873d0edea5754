"""The curves of a training as a picture: losses, Dice, learning rate and speed over epochs."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoseg.artefacts import written_whole
from autoseg.training.history import EpochRow

MANY_EPOCHS = 60
"""From so many on lines alone are clearer than lines with a mark at each epoch."""
MANY_OUTPUTS = 8
"""From so many on the legend goes beside the panel."""


def draw_curves(rows: Sequence[EpochRow], path: Path, *, output_names: Sequence[str], title: str = "") -> None:
    """Draw `rows` to a PNG file of three panels; undefined values are gaps. One epoch alone is a row of marks."""
    # Figure and canvas without pyplot: no window system, no global state.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells everyone that it builds its cache
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 10), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title + ', ' if title else ''}{len(rows)} epoch{'s' if len(rows) > 1 else ''}")
    losses, overlaps, speed = figure.subplots(3, 1, sharex=True, height_ratios=(3, 4, 2))
    _losses(losses, rows)
    _overlaps(overlaps, rows, output_names)
    _speed(speed, rows)
    for panel in (losses, overlaps, speed):
        panel.grid(alpha=0.3)
    speed.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    # Half an epoch on either side, so that a single one stands in the middle and not on the frame.
    speed.set_xlim(rows[0].epoch - 0.5, rows[-1].epoch + 0.5)
    speed.set_xlabel("epoch")
    with written_whole(path) as file:
        figure.savefig(file, format="png", dpi=80)


def _losses(panel: Any, rows: Sequence[EpochRow]) -> None:
    _line(panel, rows, [row.train_loss for row in rows], label="training")
    _line(panel, rows, [row.validation_loss for row in rows], label="validation")
    panel.set_ylabel("loss")
    panel.legend()


def _overlaps(panel: Any, rows: Sequence[EpochRow], output_names: Sequence[str]) -> None:
    """Each output in a colour of its own: the pseudo-Dice as a line, the Dice in whole cases as diamonds."""
    for index, name in enumerate(output_names):
        colour = f"C{index % 10}"
        _line(panel, rows, [row.pseudo_dice[index] for row in rows], label=name, color=colour, alpha=0.7)
        whole = [row.case_dice[index] if row.case_dice else None for row in rows]
        panel.plot(_epochs(rows), _gaps(whole), "D", color=colour, markersize=5)
    _line(panel, rows, [row.mean_train_dice for row in rows], label="training, mean", color="gray", linestyle=":")
    _line(panel, rows, [row.ema_pseudo_dice for row in rows], label="moving average of the mean", color="black")
    if any(row.case_dice for row in rows):
        panel.plot([], [], "D", color="none", markeredgecolor="black", markersize=5, label="whole cases")
    panel.set_ylabel("pseudo-Dice in validation patches")
    panel.set_ylim(-0.02, 1.02)
    if len(output_names) < MANY_OUTPUTS:
        panel.legend(loc="best", fontsize="small")
    else:
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="x-small")


def _speed(panel: Any, rows: Sequence[EpochRow]) -> None:
    _line(panel, rows, [row.seconds_per_step for row in rows], label="seconds per step", color="tab:gray")
    panel.set_ylabel("seconds per step")
    panel.set_ylim(0, 1.25 * max(row.seconds_per_step for row in rows) or 1)
    rates = panel.twinx()
    _line(rates, rows, [row.learning_rate for row in rows], label="learning rate", color="tab:green")
    rates.set_ylabel("learning rate")
    rates.set_ylim(bottom=0)
    handles = [*panel.get_lines(), *rates.get_lines()]
    panel.legend(handles, [str(handle.get_label()) for handle in handles], fontsize="small")


def _line(panel: Any, rows: Sequence[EpochRow], values: Sequence[float | None], **style: Any) -> None:
    marker = "o" if len(rows) == 1 else "." if len(rows) < MANY_EPOCHS else ""
    panel.plot(_epochs(rows), _gaps(values), marker=marker, **style)


def _epochs(rows: Sequence[EpochRow]) -> list[int]:
    return [row.epoch for row in rows]


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
