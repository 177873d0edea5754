"""Rotation, scaling, mirroring, deformation: which voxels of a case a patch needs, and the patch made from them.

Volumes are (..., z, y, x) tensors on any device; a 2-D patch is one with a single slice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from autoseg.augmentation.elastic import Elastic
from autoseg.data.labels import OUTSIDE

Matrix = tuple[tuple[float, ...], ...]
Box = tuple[slice, slice, slice]
UNTURNED = (0.0, 0.0, 0.0)
UNSCALED = (1.0, 1.0, 1.0)

SLAB_ON_CPU = 4
"""Slices of a patch that are made at a time on a CPU: measured 2 to 5 times faster than all at once."""


@dataclass(frozen=True)
class Placing:
    """How a patch lies in its case: turned by `angles` (radians about z, y, x), stretched by `scales`, then mirrored.

    A scale above 1 takes in more of the case, so that objects look smaller. With `in_plane` slices stay slices, and
    only the angle about z counts. Where it is `elastic`, voxels are displaced before all that.
    """

    angles: tuple[float, float, float] = UNTURNED
    scales: tuple[float, float, float] = UNSCALED
    mirrored: tuple[int, ...] = ()
    in_plane: bool = False
    elastic: Elastic | None = None

    @property
    def is_turned(self) -> bool:
        """Whether the axes of the patch are not those of the case."""
        return self.angles != UNTURNED

    @property
    def is_grid_aligned(self) -> bool:
        """Whether the patch's voxels are voxels of the case, so that nothing needs interpolating."""
        return not self.is_turned and self.scales == UNSCALED and self.elastic is None

    @property
    def matrix(self) -> Matrix:
        """The 3x3 matrix from an offset to the patch's centre to one in the case, both in voxels (z, y, x)."""
        about_z, about_y, about_x = (_rotation(axis, angle) for axis, angle in enumerate(self.angles))
        turned = about_x @ about_y @ about_z
        signs = [-1.0 if axis in self.mirrored else 1.0 for axis in range(3)]
        stretched = turned * torch.tensor([sign * scale for sign, scale in zip(signs, self.scales, strict=True)])
        return tuple(tuple(row) for row in stretched.tolist())


def _rotation(axis: int, angle: float) -> Tensor:
    first, second = (other for other in range(3) if other != axis)
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[first, second], matrix[second, first] = -math.sin(angle), math.sin(angle)
    return matrix


@dataclass(frozen=True)
class Source:
    """The box of a case that a patch is made from, and the patch's centre in it (voxels from the box's first one)."""

    box: Box
    centre: tuple[float, float, float]


def source_of(placing: Placing, *, corner: Sequence[int], patch: Sequence[int], shape: Sequence[int]) -> Source:
    """What a patch of size `patch` needs of a case of `shape`, if it were cut at `corner` but for its placing.

    The box never leaves the case; what it would need beyond is filled later. `corner` may be negative.
    """
    middle = [first + (size - 1) / 2 for first, size in zip(corner, patch, strict=True)]
    shifts = placing.elastic.magnitudes if placing.elastic is not None else (0.0, 0.0, 0.0)
    halves = [(size - 1) / 2 + shift for size, shift in zip(patch, shifts, strict=True)]
    reach = [sum(abs(entry) * half for entry, half in zip(row, halves, strict=True)) for row in placing.matrix]
    limits = [
        # Rounding must not cost the outermost voxel.
        (max(0, math.floor(centre - half + 1e-4)), min(size, math.ceil(centre + half - 1e-4) + 1))
        for centre, half, size in zip(middle, reach, shape, strict=True)
    ]
    z, y, x = (slice(low, high) for low, high in limits)
    cz, cy, cx = (centre - low for centre, (low, _) in zip(middle, limits, strict=True))
    return Source((z, y, x), (cz, cy, cx))


@dataclass(frozen=True, eq=False)
class Patch:
    """Where a patch is written: image (channel, z, y, x) float32 and classes (z, y, x) of the type they are stored in."""

    image: Tensor
    classes: Tensor

    @property
    def size(self) -> tuple[int, ...]:
        """Voxels along (z, y, x)."""
        return tuple(self.classes.shape)


def place(image: Tensor, classes: Tensor, placing: Placing, *, centre: Sequence[float], into: Patch) -> None:
    """Make a patch from a box of a case and write it `into` place.

    `image` (channel, z, y, x) is interpolated linearly, `classes` (z, y, x) take the nearest voxel, so that no new class
    can appear. Beyond the box the image is 0 and the class OUTSIDE.
    """
    if placing.is_grid_aligned:
        _cut(image, placing.mirrored, centre=centre, into=into.image, fill=0)
        _cut(classes, placing.mirrored, centre=centre, into=into.classes, fill=OUTSIDE)
    elif placing.elastic is not None:
        _turn(image.float(), classes, placing, centre=centre, into=into, shifts=_shifts(placing, placing.elastic, into))
    elif not placing.is_turned:
        _stretch(image, classes, placing, centre=centre, into=into)
    elif placing.in_plane:
        _turn_in_plane(image.float(), classes, placing, centre=centre, into=into)
    else:
        _turn(image.float(), classes, placing, centre=centre, into=into)


def _cut(values: Tensor, mirrored: Sequence[int], *, centre: Sequence[float], into: Tensor, fill: int) -> None:
    """A patch whose voxels are voxels of the box, mirrored, with `fill` where it leaves the box."""
    lead = values.ndim - 3
    target, source = [slice(None)] * lead, [slice(None)] * lead
    for axis, (middle, size, available) in enumerate(zip(centre, into.shape[lead:], values.shape[lead:], strict=True)):
        first = round(middle - (size - 1) / 2)
        start, stop = max(first, 0), min(first + size, available)
        low, high = start - first, stop - first
        target.append(slice(size - high, size - low) if axis in mirrored else slice(low, high))
        source.append(slice(start, stop))
    found = values[tuple(source)]
    if found.shape != into.shape:
        into.fill_(fill)
    into[tuple(target)] = found.flip([lead + axis for axis in mirrored]) if mirrored else found


def _slabs(depth: int, device: torch.device) -> list[slice]:
    """Parts of a patch that are made one at a time: a few slices on a CPU, so that they stay in its cache."""
    size = SLAB_ON_CPU if device.type == "cpu" else depth
    return [slice(start, min(start + size, depth)) for start in range(0, depth, size)]


@dataclass(frozen=True)
class _Points:
    """Points along one axis of a box: the voxels before and after each (inside the box), and their shares."""

    before: Tensor
    after: Tensor
    share_before: Tensor
    share_after: Tensor
    nearest: Tensor
    is_outside: Tensor


def _points(size: int, *, middle: float, step: float, count: int, device: torch.device) -> _Points:
    """`count` points `step` voxels apart about `middle`; voxels beyond the ends of the axis have no share."""
    positions = middle + step * (torch.arange(count, dtype=torch.float64) - (count - 1) / 2)
    before = torch.floor(positions).long()
    after, nearest = before + 1, torch.floor(positions + 0.5).long()
    share = positions - before
    outside_before, outside_after, is_outside = ((voxel < 0) | (voxel >= size) for voxel in (before, after, nearest))
    found = (
        before.clamp(0, size - 1),
        after.clamp(0, size - 1),
        (1 - share).masked_fill(outside_before, 0).float(),
        share.masked_fill(outside_after, 0).float(),
        nearest.clamp(0, size - 1),
        is_outside,
    )
    return _Points(*(tensor.to(device) for tensor in found))


def _stretch(image: Tensor, classes: Tensor, placing: Placing, *, centre: Sequence[float], into: Patch) -> None:
    """Scaling without rotation: one axis after the other."""
    axes = [
        _points(size, middle=centre[axis], step=placing.matrix[axis][axis], count=into.size[axis], device=image.device)
        for axis, size in enumerate(classes.shape)
    ]
    for source, target in zip(image, into.image, strict=True):
        for slab in _slabs(into.size[0], image.device):
            part = _interpolate(source, axes[0], axis=0, part=slab)
            part = _interpolate(part, axes[1], axis=1)
            target[slab] = _interpolate(part, axes[2], axis=2)
    for axis, points in enumerate(axes):
        classes = classes.index_select(axis, points.nearest)
        classes.index_fill_(axis, torch.nonzero(points.is_outside)[:, 0], OUTSIDE)
    into.classes.copy_(classes)


def _interpolate(values: Tensor, points: _Points, *, axis: int, part: slice = slice(None)) -> Tensor:
    """`values` (z, y, x) at (some of) the points along one axis, in single precision."""
    shape = [-1 if other == axis else 1 for other in range(3)]
    before = values.index_select(axis, points.before[part]).float().mul_(points.share_before[part].view(shape))
    after = values.index_select(axis, points.after[part]).float()
    return before.addcmul_(after, points.share_after[part].view(shape))


def _shifts(placing: Placing, elastic: Elastic, into: Patch) -> Tensor:
    """How far each voxel of a patch is displaced, as seen from the case: (z, y, x, axis), in voxels (z, y, x)."""
    shifts = torch.einsum("ca,azyx->zyxc", torch.tensor(placing.matrix), elastic.field(into.size))
    return shifts.to(into.image.device)


def _turn(
    image: Tensor,
    classes: Tensor,
    placing: Placing,
    *,
    centre: Sequence[float],
    into: Patch,
    shifts: Tensor | None = None,
) -> None:
    """Rotation about any axis, with scaling, and with each voxel displaced by `shifts`."""
    along_z, along_y, along_x = _grid_parts(placing.matrix, centre=centre, patch=into.size, shape=classes.shape)
    slice_grid = (along_y + along_x).to(image.device)
    shifted = (classes.float() - OUTSIDE)[None]
    for slab in _slabs(into.size[0], image.device):
        grid = along_z[slab].to(image.device) + slice_grid
        if shifts is not None:
            grid = grid + (shifts[slab] * shifts.new_tensor([2 / size for size in classes.shape])).flip(-1)
        into.image[:, slab] = _sample(image, grid, "bilinear")
        into.classes[slab] = _sample(shifted, grid, "nearest")[0] + OUTSIDE


def _turn_in_plane(image: Tensor, classes: Tensor, placing: Placing, *, centre: Sequence[float], into: Patch) -> None:
    """Rotation of whole slices: all slices of all channels are sampled at the same points."""
    rows = [row[1:] for row in placing.matrix[1:]]
    size = into.size[1:]
    along_y, along_x = _grid_parts(rows, centre=centre[1:], patch=size, shape=classes.shape[1:])
    grid = (along_y + along_x).to(image.device)
    turned = _sample(image.flatten(0, 1), grid, "bilinear").view(*image.shape[:2], *size)
    turned_classes = _sample(classes.float() - OUTSIDE, grid, "nearest") + OUTSIDE
    mirrored = [axis for axis in placing.mirrored if axis == 0]
    middle = (centre[0], (size[0] - 1) / 2, (size[1] - 1) / 2)
    _cut(turned, mirrored, centre=middle, into=into.image, fill=0)
    _cut(turned_classes, mirrored, centre=middle, into=into.classes, fill=OUTSIDE)


def _grid_parts(
    matrix: Sequence[Sequence[float]], *, centre: Sequence[float], patch: Sequence[int], shape: Sequence[int]
) -> list[Tensor]:
    """Where grid_sample is to look for the voxels of a patch, as one part for each patch axis; their sum is the grid.

    Parts are (*ones but for that axis, axes): positions in the box from -1 to 1 with its last axis first.
    """
    rows = range(len(patch) - 1, -1, -1)
    parts = []
    for axis, size in enumerate(patch):
        offsets = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
        part = torch.stack([offsets * (matrix[row][axis] * 2 / shape[row]) for row in rows], dim=-1)
        if axis == 0:
            part += torch.tensor([(2 * centre[row] + 1) / shape[row] - 1 for row in rows], dtype=torch.float64)
        parts.append(part.float().view(*(size if other == axis else 1 for other in range(len(patch))), len(patch)))
    return parts


def _sample(values: Tensor, grid: Tensor, mode: str) -> Tensor:
    """`values` (channel, *axes) at the points of `grid`, zero outside.

    The nearest class is found among classes shifted by OUTSIDE, so that the zeros found outside become OUTSIDE.
    """
    sampled: Tensor = F.grid_sample(values[None], grid[None], mode=mode, padding_mode="zeros", align_corners=False)[0]
    return sampled
