"""Bringing scores from one grid to another, slab by slab: splines along each axis, where only what is needed is held."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.image import Shape
from autoseg.planning.plan import Resampling
from autoseg.prediction.sums import Box
from autoseg.preprocessing.case import Placement
from autoseg.preprocessing.resampling import axis_matrix, nearest_indices, separate_axis

Orders = tuple[int, int, int]
"""Spline order of the interpolation along (z, y, x)."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What one configuration says of a case, on its own grid of `shape` (z, y, x), and the orders to refine it with.

    `slabs` yields the logits (output channel, some slices, y, x) of a part of all slices, from the first slice to the last;
    after those of the mean come those of so many `voices` it is the mean of, if they are asked for.
    """

    slabs: Callable[[Box], Iterator[Tensor]]
    shape: Shape
    orders: Orders
    voices: int = 0


def held(logits: Tensor, orders: Orders) -> Scores:
    """The scores of logits (output channel, z, y, x) that lie in memory."""
    _, z, y, x = logits.shape
    return Scores(lambda box: iter([logits[:, :, box[0], box[1]]]), (z, y, x), orders)


def interpolation_orders(resampling: Resampling, placement: Placement) -> Orders:
    """Spline orders that bring logits from the network's spacing to that of the file: a coarse axis has its own.

    Source: nnU-Net's rule for separate resampling.
    """
    coarse = separate_axis(placement.network_spacing_mm, placement.spacing_mm)
    z, y, x = (resampling.probability_order_z if axis == coarse else resampling.probability_order for axis in range(3))
    return z, y, x


def refined_slabs(scores: Scores, shape: Shape, *, depth: int, box: Box | None = None) -> Iterator[Tensor]:
    """The logits interpolated to `shape`, of the part `box`, `depth` slices at a time: (channel, up to depth, y, x).

    Voxel grids cover the same box and the outermost voxels are repeated outside, as in skimage.transform.resize. An axis
    that keeps its size is left untouched. What is computed does not depend on `depth` and `box`.
    """
    for slab, steps in refinable_slabs(scores, shape, depth=depth, box=box):
        yield refined(slab, steps)


def refined(slab: Tensor, steps: Sequence["AxisStep"]) -> Tensor:
    """What `slab` (channel, ...) becomes when each of its axes takes its step."""
    for dim, step in enumerate(steps, start=1):
        slab = step.applied(slab, dim=dim)
    return slab


def refinable_slabs(
    scores: Scores, shape: Shape, *, depth: int, box: Box | None = None
) -> Iterator[tuple[Tensor, tuple["AxisStep", "AxisStep", "AxisStep"]]]:
    """What `refined_slabs` are made of: logits on their own grid, and the step along each axis that refines them."""
    rows, columns = box or (slice(0, shape[1]), slice(0, shape[2]))
    y = axis_step(scores.shape[1], shape[1], scores.orders[1], rows)
    x = axis_step(scores.shape[2], shape[2], scores.orders[2], columns)
    held_slices = _Held(scores.slabs((y.source, x.source)))
    for first in range(0, shape[0], depth):
        z = axis_step(scores.shape[0], shape[0], scores.orders[0], slice(first, min(first + depth, shape[0])))
        yield held_slices.only(z.source), (z, y, x)


class _Held:
    """Slices of a stream that are still needed."""

    def __init__(self, slabs: Iterator[Tensor]) -> None:
        self._slabs = slabs
        self._parts: list[tuple[int, Tensor]] = []
        self._end = 0

    def only(self, wanted: slice) -> Tensor:
        """The slices `wanted` (channel, slice, y, x); those before them are dropped."""
        while self._end < wanted.stop:
            slab = next(self._slabs)
            self._parts.append((self._end, slab))
            self._end += slab.shape[1]
        self._parts = [(first, slab) for first, slab in self._parts if first + slab.shape[1] > wanted.start]
        found = [slab[:, max(wanted.start - first, 0) : wanted.stop - first] for first, slab in self._parts]
        found = [part for part in found if part.shape[1]]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)


@dataclass(frozen=True, eq=False)
class AxisStep:
    """How a span of voxels along an axis comes from the voxels `source` of the old axis.

    Each is the mean of the voxels `lower` and `upper` (counted from the start of `source`), the latter with `weight`;
    with a `matrix` (span, source) the product. Neither: nothing changes.
    """

    source: slice
    lower: Tensor | None = None
    upper: Tensor | None = None
    weight: Tensor | None = None
    matrix: Tensor | None = None

    @property
    def is_still(self) -> bool:
        """Whether nothing changes along the axis."""
        return self.lower is None and self.matrix is None

    @property
    def size(self) -> int:
        """Voxels of the span."""
        rows = self.lower if self.lower is not None else self.matrix
        return self.source.stop - self.source.start if rows is None else len(rows)

    def part(self, start: int, stop: int) -> "AxisStep":
        """The step to the voxels from `start` to `stop` of the span; its `source` counts from the start of this one's."""
        if self.matrix is not None:
            return AxisStep(slice(0, self.matrix.shape[1]), matrix=self.matrix[start:stop])
        if self.lower is None or self.upper is None:
            return AxisStep(slice(start, stop))
        lower, upper = self.lower[start:stop], self.upper[start:stop]
        first, last = int(lower[0]), int(upper.max())
        weight = None if self.weight is None else self.weight[start:stop]
        return AxisStep(slice(first, last + 1), lower=lower - first, upper=upper - first, weight=weight)

    def applied(self, values: Tensor, *, dim: int) -> Tensor:
        """`values`, which hold the voxels `source` along `dim`, on the new axis."""
        if self.matrix is not None:
            moved = torch.matmul(values.movedim(dim, -1), self.matrix.T.to(values.device))
            return moved.movedim(-1, dim)
        if self.lower is None or self.upper is None:
            return values
        if dim == values.dim() - 1:
            # Whole rows are picked many times faster than single voxels.
            return self.applied(values.transpose(-1, -2).contiguous(), dim=dim - 1).transpose(-1, -2).contiguous()
        found = _picked(values, self.lower, dim)
        if self.weight is None:
            return found
        weight = self.weight.reshape([-1] + [1] * (values.dim() - 1 - dim)).to(values.device)
        return found.lerp_(_picked(values, self.upper, dim), weight)


def _picked(values: Tensor, places: Tensor, dim: int) -> Tensor:
    """The `places` of `values` along `dim`."""
    if values.device.type == "cpu" and values.dtype == torch.float32 and values.is_contiguous():
        return torch.from_numpy(np.take(values.numpy(), places.numpy(), axis=dim))  # up to three times as fast
    return values.index_select(dim, places.to(values.device))


@lru_cache(maxsize=4096)
def _axis_step(size: int, new_size: int, order: int, start: int, stop: int) -> AxisStep:
    if size == new_size:
        return AxisStep(slice(start, stop))
    if order == 0:
        nearest = nearest_indices(size, new_size)[start:stop]
        lower = torch.from_numpy(nearest - nearest[0])
        return AxisStep(slice(int(nearest[0]), int(nearest[-1]) + 1), lower=lower, upper=lower)
    rows = np.array(axis_matrix(size, new_size, order)[start:stop])  # torch takes no read-only arrays
    used = np.flatnonzero(np.any(rows != 0, axis=0))
    source = slice(int(used[0]), int(used[-1]) + 1)
    return _between_two(np.ascontiguousarray(rows[:, source]), source)


def axis_step(size: int, new_size: int, order: int, span: slice) -> AxisStep:
    """The step that gives the voxels `span` of an axis of `new_size` from one of `size`, with a spline of `order`."""
    return _axis_step(size, new_size, order, span.start, span.stop)


def _between_two(rows: NDArray[np.float32], source: slice) -> AxisStep:
    """The step of a matrix; two neighbours and a weight where no row has more."""
    lower = np.argmax(rows != 0, axis=1)
    upper = rows.shape[1] - 1 - np.argmax(rows[:, ::-1] != 0, axis=1)
    if np.any(upper - lower > 1):
        return AxisStep(source, matrix=torch.from_numpy(rows))
    weight = np.where(upper > lower, rows[np.arange(len(rows)), upper], 0).astype(np.float32)
    return AxisStep(source, *(torch.from_numpy(part) for part in (lower, upper, weight)))
