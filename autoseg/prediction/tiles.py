"""Which class scores speak for on a finer grid, tile by tile: only classes that can win in a tile are interpolated."""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.image import Shape
from autoseg.data.labels import LabelScheme
from autoseg.prediction.deciding import decide
from autoseg.prediction.refining import AxisStep, Scores, refinable_slabs, refined
from autoseg.prediction.sums import SLAB_BYTES, Box

EDGE = 32
"""Rows and columns of a tile on the new grid: few classes meet in it, and their scores fit into a processor's cache."""
DEEPEST = 8
"""Slices of a tile, at most."""
MOST_SLABS = 4
"""Scores of so many times the usual bytes are held to have tiles of several slices."""
ROUNDING = 1e-5
"""What is computed may lie outside the scores it lies between by this share of the largest one, at most."""

Steps = tuple[AxisStep, AxisStep, AxisStep]


def decided_slabs(
    scores: Scores, shape: Shape, labels: LabelScheme, *, depth: int, box: Box | None = None
) -> Iterator[NDArray[np.integer]]:
    """The classes (up to `depth` slices, y, x) of one member's scores on a grid of `shape`, of the part `box`."""
    for slab, steps in refinable_slabs(scores, shape, depth=depth, box=box):
        if all(step.is_still for step in steps):
            yield decide(slab, labels, threshold=0.0)
        elif slab.device.type != "cpu" or any(step.matrix is not None for step in steps):
            yield decide(refined(slab, steps), labels, threshold=0.0)
        else:
            yield decided_by_tiles(slab, steps, labels)


def thick_enough(scores: Scores, shape: Shape, labels: LabelScheme, *, box: Box) -> int:
    """Slices on a grid of `shape` that are best decided together: what has to be held of `scores` stays small."""
    whole = prod(scores.shape[1:]) * prod(side.stop - side.start for side in box) / prod(shape[1:])
    source_slice = 4 * labels.output_channels * whole * scores.shape[0] / shape[0]
    return max(1, min(DEEPEST, int(MOST_SLABS * SLAB_BYTES / source_slice)))


def decided_by_tiles(slab: Tensor, steps: Steps, labels: LabelScheme) -> NDArray[np.integer]:
    """The classes (z, y, x) that scores (channel, z, y, x) speak for on the grid that linear `steps` lead to.

    What is interpolated linearly lies between its neighbours. So a class whose highest score in a tile lies below the
    lowest one of another class cannot win anywhere in it, and a region's score that is nowhere above (or below) its
    threshold stays there. What is left is interpolated and decided as elsewhere: the label map is the same.
    """
    z, y, x = steps
    lowest, highest = slab.amin(1), slab.amax(1)
    found = np.empty((z.size, y.size, x.size), dtype=np.int16)
    columns = list(_tiles(x))
    for rows in _tiles(y):
        for column in columns:
            source = (slice(None), rows.step.source, column.step.source)
            low, high = lowest[source].amin((1, 2)), highest[source].amax((1, 2))
            part = slab[:, :, rows.step.source, column.step.source]
            found[:, rows.span, column.span] = _decided(part, (z, rows.step, column.step), labels, low=low, high=high)
    return found


class _Tile(NamedTuple):
    """A span of an axis and the step that leads to it."""

    span: slice
    step: AxisStep


def _tiles(step: AxisStep) -> Iterator[_Tile]:
    for start in range(0, step.size, EDGE):
        stop = min(start + EDGE, step.size)
        yield _Tile(slice(start, stop), step.part(start, stop))


def _decided(part: Tensor, steps: Steps, labels: LabelScheme, *, low: Tensor, high: Tensor) -> NDArray[np.integer]:
    """The classes of a tile, in a shape that fits it; channels of `part` lie between `low` and `high`."""
    slack = ROUNDING * float(torch.maximum(low.abs(), high.abs()).max())
    if labels.target == "regions":
        return _painted(part, steps, labels, is_open=(low <= slack) & (high >= -slack), is_inside=low > slack)
    able = torch.nonzero(high >= low.max() - 2 * slack).flatten()
    if len(able) == 1:
        return np.full((1, 1, 1), int(able))
    if len(able) == len(part):
        return _turned(decide(_interpolated(part, steps), labels, threshold=0.0))
    winners = decide(_interpolated(part[able], steps), labels, threshold=0.0)
    return _turned(able.numpy()[winners])


def _painted(part: Tensor, steps: Steps, labels: LabelScheme, *, is_open: Tensor, is_inside: Tensor) -> NDArray[np.integer]:
    scores = is_inside.float()[:, None, None, None]
    unsure = torch.nonzero(is_open).flatten()
    if len(unsure):
        between = _interpolated(part[unsure], steps)
        scores = scores.repeat(1, *between.shape[1:]).index_copy_(0, unsure, between)
    return _turned(decide(scores, labels, threshold=0.0))


def _turned(classes: NDArray[np.integer]) -> NDArray[np.integer]:
    """Classes (x, y, z) of interpolated scores as (z, y, x)."""
    turned: NDArray[np.integer] = classes.transpose(2, 1, 0)
    return turned


def _interpolated(part: Tensor, steps: Steps) -> Tensor:
    """Scores (channel, x, y, z): with slices innermost, rows and columns are picked in whole blocks."""
    z, y, x = steps
    thick = z.applied(part, dim=1).permute(0, 3, 2, 1).contiguous()
    return x.applied(y.applied(thick, dim=2), dim=1)
