"""Where the windows of a network lie in an image, and how much each of their voxels counts: arithmetic, no tensors."""

import math
from collections.abc import Sequence
from itertools import chain, combinations, groupby, product

import numpy as np
from numpy.typing import NDArray

Window = tuple[slice | int, ...]
"""One index per spatial axis (z, y, x): a slice along the network's axes, a number along an axis it does not have."""


def window_starts(size: int, patch: int, *, step: float) -> tuple[int, ...]:
    """First voxels of the windows along an axis of `size` voxels: evenly spread, at most `patch * step` apart.

    The first window starts at 0 and the last ends with the axis; one window where the axis is no longer than the patch.
    Source: nnU-Net's sliding window (Isensee et al., Nature Methods 18, 2021).
    """
    if size <= patch:
        return (0,)
    count = math.ceil((size - patch) / max(1.0, patch * step)) + 1
    stride = (size - patch) / (count - 1)
    return tuple(round(stride * index) for index in range(count))


def importance(patch: int) -> NDArray[np.float64]:
    """Weights (patch,) of the voxels along one axis of a window: a Gaussian of deviation patch / 8, 1 at the centre.

    A voxel's weight is the product over the axes. None is zero: the ends lie four deviations out.
    """
    offsets = np.arange(patch) - patch // 2
    return np.exp(-0.5 * (offsets / (patch / 8)) ** 2)


def summed_importance(size: int, patch: int, *, step: float) -> NDArray[np.float32]:
    """The weights (size,) that all windows along an axis together give each voxel.

    Windows form a grid and their weights are products, so the sum over all windows is a product over the axes too.
    """
    weights = np.zeros(size)
    for start in window_starts(size, patch, step=step):
        weights[start : start + patch] += importance(patch)
    return weights.astype(np.float32)


def margins(shape: Sequence[int], patch: Sequence[int]) -> list[tuple[int, int]]:
    """Voxels to add before and after each axis so that a patch fits; an odd one goes after."""
    missing = [max(0, wanted - size) for size, wanted in zip(shape, patch, strict=True)]
    return [(count // 2, count - count // 2) for count in missing]


def mirrorings(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every subset of `axes`, the empty one first."""
    return list(chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)))


def views(axes: Sequence[int], kind: str) -> tuple[tuple[int, ...], ...]:
    """The mirrorings of a kind: "all" subsets of `axes`, "two" (none and all axes at once), or "none" but the image."""
    if kind == "all":
        return tuple(mirrorings(axes))
    return ((), tuple(axes)) if kind == "two" and axes else ((),)


LARGEST_WINDOW = 2.0
"""A single window replaces several while it holds no more than so many times the voxels of the patch."""


def enlarged(patch: Sequence[int], shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The patch enlarged to hold an image of `shape` (z, y, x), edges fit for `strides`; itself where that is too large.

    No edge becomes smaller than it is, so that the network sees no less than it was trained with.
    """
    factors = [math.prod(stage[axis] for stage in strides) for axis in range(len(patch))]
    edges = zip(patch, shape[-len(patch) :], factors, strict=True)
    single = tuple(max(edge, math.ceil(size / factor) * factor) for edge, size, factor in edges)
    return single if math.prod(single) <= LARGEST_WINDOW * math.prod(patch) else tuple(patch)


def windows(shape: Sequence[int], patch: Sequence[int], *, step: float) -> list[Window]:
    """The windows that cover an image of `shape` (z, y, x), which is no smaller than the patch, in the order of z.

    A patch with two axes (y, x) goes through every slice.
    """
    flat_axes = len(shape) - len(patch)
    slices = [range(size) for size in shape[:flat_axes]]
    starts = [window_starts(size, edge, step=step) for size, edge in zip(shape[flat_axes:], patch, strict=True)]
    spans = [[slice(start, start + edge) for start in axis] for axis, edge in zip(starts, patch, strict=True)]
    return list(product(*slices, *spans))


def batched(tiles: Sequence[Window], size: int) -> list[Sequence[Window]]:
    """The windows in batches of at most `size`; none holds windows that begin at different slices, unless they are flat."""
    layers = [list(layer) for _, layer in groupby(tiles, key=lambda tile: isinstance(tile[0], slice) and first_slice(tile))]
    return [layer[first : first + size] for layer in layers for first in range(0, len(layer), size)]


def deepest_reach(batches: Sequence[Sequence[Window]]) -> int:
    """Slices that lie between the first one and the last one of a batch of windows, at most."""
    return max(last_slice(batch[-1]) - first_slice(batch[0]) for batch in batches)


def first_slice(window: Window) -> int:
    """Where a window begins along z."""
    along_z = window[0]
    return along_z.start if isinstance(along_z, slice) else along_z


def last_slice(window: Window) -> int:
    """Where a window ends along z: one past its last slice."""
    along_z = window[0]
    return along_z.stop if isinstance(along_z, slice) else along_z + 1


def with_flat_axes(patch_size: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """The patch with one entry per image axis, 1 where the network has none."""
    return (1,) * (len(shape) - len(patch_size)) + tuple(patch_size)
