"""The curves of a training: loss, Dice, IoU and learning rate of each fold."""

import math
from collections.abc import Sequence

from autoseg.colours import structure_colour
from autoseg.report.drawing import fraction, new_figure, png
from autoseg.report.sources import Epoch, FoldRun


def draw_curves(folds: Sequence[FoldRun]) -> bytes:
    """Loss, Dice, IoU and learning rate over epochs as PNG, one colour a fold; what is undefined is a gap.

    Dice and IoU are the pseudo ones of random validation patches (mean over outputs), thick where whole cases were
    predicted. IoU follows from Dice, as both come from the same counts: D / (2 - D).
    """
    figure = new_figure(9, 6.5)
    losses, dice, iou, rate = figure.subplots(2, 2, sharex=True).ravel()
    for index, fold in enumerate(folds):
        colour = fraction(structure_colour(index))
        epochs = [row["epoch"] for row in fold.history]
        style = {"color": colour, "marker": "." if len(epochs) < 50 else ""}
        losses.plot(epochs, _column(fold.history, "train_loss"), label=f"fold {fold.name}, training", **style)
        losses.plot(epochs, _column(fold.history, "validation_loss"), linestyle="--", label="validation", **style)
        patches, cases = (_column(fold.history, key) for key in ("mean_pseudo_dice", "mean_case_dice"))
        dice.plot(epochs, patches, label=f"fold {fold.name}, patches", **style)
        iou.plot(epochs, [_iou(value) for value in patches], **style)
        if not all(map(math.isnan, cases)):
            dice.plot(epochs, cases, linewidth=3, label=f"fold {fold.name}, whole cases", **style)
            iou.plot(epochs, [_iou(value) for value in cases], linewidth=3, **style)
        rate.plot(epochs, _column(fold.history, "learning_rate"), **style)
    for panel, name in ((losses, "loss"), (dice, "Dice"), (iou, "IoU"), (rate, "learning rate")):
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
    for panel in (dice, iou):
        panel.set_ylim(0, 1)
    for panel in (losses, dice):
        panel.legend(fontsize="small")
    for panel in (iou, rate):
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
    return png(figure)


def _column(rows: Sequence[Epoch], key: str) -> list[float]:
    return [float("nan") if row.get(key) is None else float(row[key]) for row in rows]


def _iou(dice: float) -> float:
    return dice / (2 - dice)
