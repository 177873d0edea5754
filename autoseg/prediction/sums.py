"""Weighted sums of what overlapping windows say, kept only for the slices that further windows still reach."""

from collections.abc import Iterator, Sequence
from types import EllipsisType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.prediction.windows import Window, importance, summed_importance

SLAB_BYTES = 16 * 2**20
"""So much is handed on at a time: it fits into a cache, and memory grows neither with classes nor with size."""

Box = tuple[slice, slice]
"""Part of every slice: rows and columns (y, x)."""


class SlidingSums:
    """Sums of logits over windows that come in the order of z, in a ring of as many slices as the windows reach over.

    Only what lies in `box` is kept. Bytes: 4 x channels x `depth` x box.
    """

    def __init__(
        self,
        *,
        channels: int,
        depth: int,
        box: Box,
        shape: Sequence[int],
        patch: Sequence[int],
        step: float,
        device: torch.device,
    ) -> None:
        self.first = 0
        self._box = box
        self._depth = min(depth, shape[0])
        rows, columns = (side.stop - side.start for side in box)
        self._ring = torch.zeros(channels, self._depth, rows, columns, device=device)
        self._weight = _outer([importance(edge) for edge in patch]).to(device)
        self._divisors = _divisors(shape, patch, step=step, box=box)

    def add(self, window: Window, logits: Tensor) -> None:
        """Take in the logits (channel, *patch) of a window that begins no earlier than `first`."""
        (y, x), within = self._in_box(window)
        logits, weight = logits[within], self._weight[within]
        if isinstance(window[0], slice):
            pieces = list(self._pieces(window[0].start, window[0].stop))
        else:
            logits, weight, pieces = logits[:, None], weight[None], list(self._pieces(window[0], window[0] + 1))
        for ring, rows in pieces:
            share = weight[rows]
            # Channel by channel: a copy of all in float32 would be the largest tensor there is.
            for total, one in zip(self._ring, logits, strict=True):
                total[ring, y, x].addcmul_(one[rows].to(total), share)

    def finished(self, until: int) -> Iterator[Tensor]:
        """The mean logits (channel, slice, y, x) of the slices before `until`, which no window will reach any more."""
        rows = max(1, SLAB_BYTES // max(1, 4 * self._ring[:, 0].numel()))
        while self.first < until:
            piece, _ = next(self._pieces(self.first, min(until, self.first + rows)))
            count = piece.stop - piece.start
            total = self._ring[:, piece]
            slab = total / self._divisors[0][self.first : self.first + count].to(total.device)
            for divisor in self._divisors[1:]:
                slab /= divisor.to(total.device)
            total.zero_()
            self.first += count
            yield slab

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[slice, slice]]:
        """Where the slices from `start` to `stop` lie in the ring, each part with what it is counted from `start`."""
        done = start
        while done < stop:
            at = done % self._depth
            length = min(stop - done, self._depth - at)
            yield slice(at, at + length), slice(done - start, done - start + length)
            done += length

    def _in_box(self, window: Window) -> tuple[tuple[slice, ...], tuple[slice | EllipsisType, ...]]:
        """The part of a window inside the box, counted from the box's corner and from the window's own."""
        in_box, in_window = [], []
        for side, edge in zip(self._box, window[-2:], strict=True):
            assert isinstance(edge, slice), "networks have at least two axes"
            start, stop = max(side.start, edge.start), min(side.stop, edge.stop)
            in_box.append(slice(start - side.start, stop - side.start))
            in_window.append(slice(start - edge.start, stop - edge.start))
        return tuple(in_box), (..., *in_window)


def reaches(window: Window, box: Box) -> bool:
    """Whether a window and the box overlap."""
    sides = zip(box, window[-2:], strict=True)
    return all(isinstance(edge, slice) and edge.start < side.stop and side.start < edge.stop for side, edge in sides)


def _divisors(shape: Sequence[int], patch: Sequence[int], *, step: float, box: Box) -> list[Tensor]:
    """What the weights add up to along each axis, shaped to divide (channel, z, y, x); 1 along an axis without windows."""
    found = []
    for axis, part in enumerate((slice(0, shape[0]), *box)):
        patch_axis = axis - (3 - len(patch))
        whole = summed_importance(shape[axis], patch[patch_axis], step=step) if patch_axis >= 0 else np.ones(shape[axis])
        weights = torch.from_numpy(whole[part].astype(np.float32))
        found.append(weights.reshape([-1] + [1] * (2 - axis)))
    return found


def _outer(vectors: Sequence[NDArray[np.float64]]) -> Tensor:
    """The product over the axes, float32, one axis per vector."""
    product_over_axes = np.ones(())
    for vector in vectors:
        product_over_axes = product_over_axes[..., None] * vector
    return torch.from_numpy(product_over_axes.astype(np.float32))
