"""From logits on the network's grid to label values on the grid of the image as it was read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.image import Shape
from autoseg.data.labels import LabelScheme
from autoseg.planning.plan import Resampling
from autoseg.preprocessing.case import Placement, restore
from autoseg.preprocessing.resampling import axis_matrix, nearest_indices, separate_axis

SLAB_BYTES = 16 * 2**20
"""So much of the finer grid is decided at a time: it fits into a cache, and memory grows neither with classes nor size."""

Orders = tuple[int, int, int]
"""Spline order of the interpolation along (z, y, x)."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What one configuration says of a case: logits (output channel, z, y, x) on its own grid, and how to refine them."""

    logits: Tensor
    orders: Orders


@dataclass(frozen=True, eq=False)
class Exported:
    """Label values (z, y, x) as on disk, and probabilities (output channel, z, y, x), float16, if asked for."""

    labels: NDArray[np.integer]
    probabilities: NDArray[np.float16] | None


def interpolation_orders(resampling: Resampling, placement: Placement) -> Orders:
    """Spline orders that bring logits from the network's spacing to that of the file: a coarse axis has its own.

    Source: nnU-Net's rule for separate resampling.
    """
    coarse = separate_axis(placement.network_spacing_mm, placement.spacing_mm)
    z, y, x = (resampling.probability_order_z if axis == coarse else resampling.probability_order for axis in range(3))
    return z, y, x


@torch.inference_mode()
def export(
    members: Sequence[Scores], *, labels: LabelScheme, placement: Placement, probabilities: bool = False
) -> Exported:
    """The segmentation that `members` agree on, on the original grid; background outside the crop.

    One member decides by its logits, several by the mean of their probabilities. A softmax class must be the highest,
    a region more likely than not. The scores are refined and decided slab by slab: full-size scores never exist, unless
    `probabilities` are asked for.
    """
    shape = placement.cropped_shape
    classes = np.empty(shape, dtype=np.uint8 if len(labels.labels) <= 256 else np.int16)
    kept = np.empty((labels.output_channels, *shape), dtype=np.float16) if probabilities else None
    depth = max(1, SLAB_BYTES // (4 * labels.output_channels * shape[1] * shape[2]))
    parts = [refined_slabs(member.logits, shape, orders=member.orders, depth=depth) for member in members]
    for first, slabs in zip(range(0, shape[0], depth), zip(*parts, strict=True), strict=True):
        span = slice(first, first + depth)
        scores, threshold = slabs[0], 0.0
        if len(slabs) > 1 or kept is not None:
            scores, threshold = torch.stack([to_probabilities(slab, labels) for slab in slabs]).mean(0), 0.5
        if kept is not None:
            kept[:, span] = scores.cpu().numpy()
        classes[span] = decide(scores, labels, threshold=threshold)
    values = labels.decode(restore(classes, placement, 0))
    return Exported(values, None if kept is None else _restored_probabilities(kept, labels, placement))


def refined_slabs(logits: Tensor, shape: Shape, *, orders: Orders, depth: int) -> Iterator[Tensor]:
    """The logits (channel, z, y, x) interpolated to `shape`, `depth` slices at a time: (channel, up to depth, y, x).

    Voxel grids cover the same box and the outermost voxels are repeated outside, as in skimage.transform.resize. An axis
    that keeps its size is left untouched.
    """
    matrix = None if logits.shape[1] == shape[0] else _matrix(logits.shape[1], shape[0], orders[0])
    for first in range(0, shape[0], depth):
        rows = slice(first, min(first + depth, shape[0]))
        slab = logits[:, rows] if matrix is None else _interpolated_along_z(logits, matrix[rows])
        yield _interpolated_in_plane(slab, shape[1:], orders=orders[1:])


def _matrix(size: int, new_size: int, order: int) -> NDArray[np.float32]:
    """The (new_size, size) matrix that interpolates along an axis."""
    if order == 0:
        chosen: NDArray[np.float32] = np.eye(size, dtype=np.float32)[nearest_indices(size, new_size)]
        return chosen
    return np.array(axis_matrix(size, new_size, order))  # torch takes no read-only arrays


def _interpolated_along_z(logits: Tensor, rows: NDArray[np.float32]) -> Tensor:
    """The slices (channel, row, y, x) that `rows` of an interpolation matrix stand for."""
    used = np.flatnonzero(np.any(rows != 0, axis=0))
    near = slice(int(used[0]), int(used[-1]) + 1)
    weights = torch.from_numpy(np.ascontiguousarray(rows[:, near])).to(logits.device)
    source = logits[:, near]
    return torch.matmul(weights, source.flatten(2)).reshape(len(source), len(rows), *source.shape[2:])


def _interpolated_in_plane(slab: Tensor, size: Sequence[int], *, orders: Sequence[int]) -> Tensor:
    if tuple(slab.shape[2:]) == tuple(size):
        return slab
    if tuple(orders) == (1, 1):
        return F.interpolate(slab, size=tuple(size), mode="bilinear", align_corners=False)
    for axis, (wanted, order) in enumerate(zip(size, orders, strict=True), start=2):
        if slab.shape[axis] != wanted:
            matrix = torch.from_numpy(_matrix(slab.shape[axis], wanted, order)).to(slab.device)
            slab = torch.matmul(slab.movedim(axis, -1), matrix.T).movedim(-1, axis)
    return slab


def to_probabilities(logits: Tensor, labels: LabelScheme) -> Tensor:
    """Probabilities of the logits (channel, ...): a sigmoid for each region, or the softmax over classes."""
    return torch.sigmoid(logits) if labels.target == "regions" else torch.softmax(logits, dim=0)


def decide(scores: Tensor, labels: LabelScheme, *, threshold: float) -> NDArray[np.integer]:
    """The classes (...) that scores (channel, ...) speak for.

    The highest score wins, the lower class in a tie. Regions are painted where their score exceeds `threshold`.
    """
    if labels.target == "regions":
        return labels.paint((scores > threshold).cpu().numpy())
    # A running maximum is several times faster than argmax over the leading axis.
    best = scores[0].clone()
    classes = torch.zeros(best.shape, dtype=torch.int16, device=scores.device)
    for index, score in enumerate(scores[1:], start=1):
        classes.masked_fill_(score > best, index)
        torch.maximum(best, score, out=best)
    return classes.cpu().numpy()


def _restored_probabilities(
    probabilities: NDArray[np.float16], labels: LabelScheme, placement: Placement
) -> NDArray[np.float16]:
    """The probabilities on the original grid; outside the crop the background is certain."""
    whole: NDArray[np.float16] = restore(probabilities, placement, 0)
    if labels.target == "labels":
        whole[0] = restore(probabilities[0], placement, 1)
    return whole
