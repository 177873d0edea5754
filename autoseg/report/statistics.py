"""Pictures of how labels are confused and how volumes agree."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autoseg.colours import contrast, hexadecimal, structure_colour
from autoseg.evaluation.scores import CaseScores
from autoseg.report.drawing import new_figure, png

SHARES = "cividis"
"""The colours of shares, which the colour-blind see as others do."""
MOST_NUMBERED = 20
"""Up to so many labels the picture of their confusion shows numbers."""

Pairs = NDArray[np.float64]
"""Volumes in ml, (case, [prediction, reference])."""


def confusion_shares(cases: Sequence[CaseScores]) -> NDArray[np.float64]:
    """Of the voxels of each label in the references (rows) the share that each label of the predictions has (columns).

    Summed over all cases; a label that no reference holds has a row of NaN.
    """
    counts = np.sum([np.array(case.confusion, dtype=np.float64) for case in cases], axis=0)
    with np.errstate(invalid="ignore"):
        shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return shares


def ink_on(share: float) -> Literal["black", "white"]:
    """What can be read better on the colour of a share (0 to 1; NaN is drawn as 0)."""
    from matplotlib import colormaps

    red, green, blue, _ = colormaps[SHARES](float(np.nan_to_num(share)), bytes=True)
    colour = int(red), int(green), int(blue)
    return "black" if contrast(colour, (0, 0, 0)) > contrast(colour, (255, 255, 255)) else "white"


def draw_confusion(shares: NDArray[np.float64], names: Sequence[str]) -> bytes:
    """The shares as a coloured table, PNG."""
    # Cells wide enough for numbers would make a picture of many labels metres wide.
    is_small = len(names) <= MOST_NUMBERED
    width, height, size = (0.95, 0.7, 10) if is_small else (0.16, 0.16, 7)
    figure = new_figure(1.6 + width * len(names), 1.2 + height * len(names))
    axes = figure.subplots()
    axes.imshow(np.nan_to_num(shares), cmap=SHARES, vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*shares.shape) if is_small else ():
        value = shares[row, column]
        text = "–" if np.isnan(value) else f"{100 * value:.1f} %"
        axes.text(column, row, text, ha="center", va="center", color=ink_on(value), fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=30 if is_small else 90, ha="right", fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_xlabel("prediction")
    axes.set_ylabel("reference")
    return png(figure)


def agreement(pairs: Pairs) -> tuple[float, float, float]:
    """Mean difference (prediction minus reference) in ml and the limits of agreement around it, 1.96 deviations away.

    Source: Bland and Altman, The Lancet 327 (1986). Needs two cases.
    """
    difference = pairs[:, 0] - pairs[:, 1]
    mean, reach = float(difference.mean()), 1.96 * float(difference.std(ddof=1))
    return mean, mean - reach, mean + reach


def draw_agreement(volumes: Sequence[tuple[str, Pairs]]) -> bytes:
    """A Bland-Altman plot for each structure (name, volumes), PNG: difference over mean, with the limits of agreement."""
    columns = min(3, len(volumes))
    rows = -(-len(volumes) // columns)
    figure = new_figure(3.2 * columns, 2.8 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for index, ((name, pairs), axes) in enumerate(zip(volumes, panels, strict=False)):
        axes.scatter(pairs.mean(axis=1), pairs[:, 0] - pairs[:, 1], s=18, color=hexadecimal(structure_colour(index)))
        mean, low, high = agreement(pairs)
        axes.axhline(mean, color="black", linewidth=1)
        for limit in (low, high):
            axes.axhline(limit, color="black", linewidth=1, linestyle="--")
        axes.axhline(0, color="grey", linewidth=0.5)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("mean of both, ml", fontsize=8)
        axes.set_ylabel("prediction - reference, ml", fontsize=8)
    for axes in panels[len(volumes) :]:
        axes.set_visible(False)
    return png(figure)
