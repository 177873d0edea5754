"""Pictures of how labels are confused and how volumes agree."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoseg.colours import hexadecimal, structure_colour
from autoseg.evaluation.scores import CaseScores
from autoseg.report.drawing import new_figure, png

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


def draw_confusion(shares: NDArray[np.float64], names: Sequence[str]) -> bytes:
    """The shares as a coloured table, PNG."""
    figure = new_figure(1.6 + 0.95 * len(names), 1.2 + 0.7 * len(names))
    axes = figure.subplots()
    axes.imshow(np.nan_to_num(shares), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*shares.shape):
        value = shares[row, column]
        text = "–" if np.isnan(value) else f"{100 * value:.1f} %"
        axes.text(column, row, text, ha="center", va="center", color="black" if value > 0.5 else "white", fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
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
