"""Which class scores speak for; on a finer grid without interpolating where all neighbours agree."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.image import Shape
from autoseg.data.labels import LabelScheme
from autoseg.prediction.refining import AxisStep, Scores, refinable_slabs
from autoseg.prediction.sums import SLAB_BYTES, Box

MOST_REGIONS = 62
"""So many regions have a bit each in a number of 64."""


def to_probabilities(logits: Tensor, labels: LabelScheme) -> Tensor:
    """Probabilities of the logits (channel, ...): a sigmoid for each region, or the softmax over classes."""
    return torch.sigmoid(logits) if labels.target == "regions" else torch.softmax(logits, dim=0)


def decide(scores: Tensor, labels: LabelScheme, *, threshold: float) -> NDArray[np.integer]:
    """The classes (...) that scores (channel, ...), of whatever number type, speak for.

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


def decided_slabs(
    scores: Scores, shape: Shape, labels: LabelScheme, *, depth: int, box: Box | None = None
) -> Iterator[NDArray[np.integer]]:
    """The classes (up to `depth` slices, y, x) of one member's scores on a grid of `shape`, of the part `box`.

    A linear interpolation lies between its neighbours. Where all of them speak for the same class (or lie on the same
    side of every region's threshold) so does what lies between, and nothing is computed; elsewhere scores are
    interpolated voxel by voxel.
    """
    for slab, steps in refinable_slabs(scores, shape, depth=depth, box=box):
        if all(step.is_still for step in steps):
            yield decide(slab, labels, threshold=0.0)
        elif any(step.matrix is not None for step in steps) or (
            labels.target == "regions" and labels.output_channels > MOST_REGIONS
        ):
            yield _interpolated(slab, steps, labels)
        else:
            yield _where_in_doubt(slab, steps, labels)


def _interpolated(slab: Tensor, steps: tuple[AxisStep, ...], labels: LabelScheme) -> NDArray[np.integer]:
    for dim, step in enumerate(steps, start=1):
        slab = step.applied(slab, dim=dim)
    return decide(slab, labels, threshold=0.0)


def _where_in_doubt(slab: Tensor, steps: tuple[AxisStep, ...], labels: LabelScheme) -> NDArray[np.integer]:
    classes = torch.from_numpy(decide(slab, labels, threshold=0.0).astype(np.int16)).to(slab.device)
    is_sure = torch.ones(classes.shape, dtype=torch.bool, device=slab.device)
    sides = classes if labels.target == "labels" else _sides(slab)
    for dim, step in enumerate(steps):
        if not step.is_still:
            lower, upper = step.neighbours(slab.device)
            below, above = sides.index_select(dim, lower), sides.index_select(dim, upper)
            is_sure = is_sure.index_select(dim, lower) & is_sure.index_select(dim, upper) & (below == above)
            classes = below if sides is classes else classes.index_select(dim, lower)
            sides = below if labels.target != "labels" else classes
    doubtful = torch.nonzero(~is_sure)
    found = classes.cpu().numpy()
    for some, between in _picked(slab, steps, doubtful):
        found[tuple(some.cpu().numpy().T)] = _decided_rows(between, labels)
    return found


def _decided_rows(scores: Tensor, labels: LabelScheme) -> NDArray[np.integer]:
    """The classes (n,) that scores (n, channel) speak for, as `decide` has it."""
    if labels.target == "regions":
        return decide(scores.T, labels, threshold=0.0)
    classes: NDArray[np.integer] = scores.argmax(dim=1).cpu().numpy()  # the first of equals, as documented
    return classes


def _sides(slab: Tensor) -> Tensor:
    """A number for each voxel that says which regions' scores lie above their threshold."""
    bits = torch.zeros(slab.shape[1:], dtype=torch.int64, device=slab.device)
    for index, score in enumerate(slab):
        bits |= (score > 0).long() << index
    return bits


def _picked(slab: Tensor, steps: tuple[AxisStep, ...], places: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Some of the `places` (n, axis) at a time, and the scores (n, channel) interpolated there."""
    channels, _, rows, columns = slab.shape
    by_voxel = slab.flatten(1).T.contiguous()  # one voxel's scores side by side
    count = max(1, SLAB_BYTES // (4 * channels))
    for first in range(0, len(places), count):
        some = places[first : first + count]
        ends = []
        for axis, (step, stride) in enumerate(zip(steps, (rows * columns, columns, 1), strict=True)):
            lower, upper = step.neighbours(slab.device)
            own = some[:, axis]
            ends.append(_Ends(lower[own] * stride, upper[own] * stride, _share(step, own)))
        yield some, _between(by_voxel, ends, torch.zeros_like(some[:, 0]))


class _Ends(NamedTuple):
    """Where the two neighbours of each place lie along an axis, and the weight of the upper one (None: nothing changes)."""

    lower: Tensor
    upper: Tensor
    share: Tensor | None


def _share(step: AxisStep, places: Tensor) -> Tensor | None:
    if step.is_still:
        return None
    return step.share(places.device)[places, None]


def _between(by_voxel: Tensor, ends: Sequence[_Ends], offset: Tensor) -> Tensor:
    """Scores (n, channel) between the neighbours; the first axis is interpolated first, as everywhere else."""
    if not ends:
        return by_voxel.index_select(0, offset)
    *before, (lower, upper, share) = ends
    found = _between(by_voxel, before, offset + lower)
    return found if share is None else found.lerp_(_between(by_voxel, before, offset + upper), share)
