"""Resampling voxels to another spacing: cubic splines for images, linear shares for label maps, one matrix per axis."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from autoseg.data.image import Shape, Spacing

ANISOTROPY = 3.0
"""A grid whose coarsest spacing exceeds its finest this many times has its coarse axis resampled on its own."""
SAME_SHARE = 1e-6
"""Shares of a voxel that are closer to each other than this may differ by rounding only."""
PLACES_AT_A_TIME = 1024


def resampled_shape(shape: Shape, *, current_mm: Spacing, new_mm: Spacing) -> Shape:
    """Voxels along each axis when a grid of `shape` gets another spacing; rounded half to even, at least one."""
    z, y, x = (max(1, round(old / new * size)) for size, old, new in zip(shape, current_mm, new_mm, strict=True))
    return z, y, x


def separate_axis(current_mm: Sequence[float], new_mm: Sequence[float]) -> int | None:
    """The coarse axis that is resampled on its own, after the other two; None if all three go together.

    It is the coarsest axis of the current spacing where that is anisotropic, else that of the new one. Where two axes
    are equally coarse there is no plane to resample in, and the three go together.
    """
    for spacing in (current_mm, new_mm):
        coarsest = max(spacing)
        if coarsest / min(spacing) > ANISOTROPY:
            axes = [axis for axis, size in enumerate(spacing) if size == coarsest]
            return axes[0] if len(axes) == 1 else None
    return None


@lru_cache(maxsize=256)
def axis_matrix(size: int, new_size: int, order: int) -> NDArray[np.float32]:
    """The (new_size, size) matrix that resamples one axis with a spline of `order` as scipy and scikit-image do.

    Its columns are what scipy makes of unit impulses (voxel centres at half-integers, edges continued), so the spline's
    prefilter and border are exact to rounding. Cached and read-only.
    """
    from scipy.ndimage import zoom  # loaded when needed: commands must start fast

    impulses = np.eye(size)
    columns = [zoom(impulse, new_size / size, order=order, mode="nearest", grid_mode=True) for impulse in impulses]
    matrix = np.stack(columns, axis=1).astype(np.float32)
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=256)
def nearest_indices(size: int, new_size: int) -> NDArray[np.intp]:
    """For each of `new_size` voxels along an axis, the voxel of the old axis whose centre is nearest."""
    from scipy.ndimage import map_coordinates

    positions = size / new_size * (np.arange(new_size) + 0.5) - 0.5
    nearest = map_coordinates(np.arange(size, dtype=float), positions[None], order=0, mode="nearest")
    indices: NDArray[np.intp] = nearest.astype(np.intp)
    indices.setflags(write=False)
    return indices


def apply_along(voxels: NDArray[np.float32], matrix: NDArray[np.float32], *, axis: int) -> NDArray[np.float32]:
    """`voxels` with `axis` (counted from the front) multiplied by `matrix` (new size, old size)."""
    before, after = voxels.shape[:axis], voxels.shape[axis + 1 :]
    product: NDArray[np.float32]
    if not after:
        product = voxels @ matrix.T
    else:
        rows = voxels.reshape(-1, voxels.shape[axis], int(np.prod(after)))
        product = np.matmul(matrix, rows)
    return product.reshape(*before, len(matrix), *after)


def resample_image(
    voxels: NDArray[np.float32], new_shape: Shape, *, current_mm: Spacing, new_mm: Spacing, order: int = 3, order_z: int = 0
) -> NDArray[np.float32]:
    """Voxels (channel, z, y, x) on a grid of `new_shape`; values stay in the range of their channel.

    With a coarse axis (see `separate_axis`) slices are resampled with `order` and kept in their own range, then the coarse
    axis with `order_z`. Returns the input itself when the shape does not change. Needs the output and at most two
    single-channel volumes of memory.
    """
    if voxels.shape[1:] == tuple(new_shape):
        return voxels
    coarse = separate_axis(current_mm, new_mm)
    out = np.empty((len(voxels), *new_shape), dtype=np.float32)
    for channel, target in zip(voxels, out, strict=True):
        target[...] = _resample_channel(channel, new_shape, coarse=coarse, order=order, order_z=order_z)
    return out


def _resample_channel(
    channel: NDArray[np.float32], new_shape: Shape, *, coarse: int | None, order: int, order_z: int
) -> NDArray[np.float32]:
    together = [axis for axis in range(3) if axis != coarse]
    found = _resample_axes(channel, new_shape, axes=together, order=order)
    if found is not channel:
        # Splines overshoot at edges; scikit-image clips them to the range of what it was given: a volume or a slice.
        ranges = tuple(together)
        low, high = channel.min(axis=ranges, keepdims=True), channel.max(axis=ranges, keepdims=True)
        np.clip(found, low, high, out=found)
    if coarse is None or found.shape[coarse] == new_shape[coarse]:
        return found
    if order_z == 0:
        return found.take(nearest_indices(found.shape[coarse], new_shape[coarse]), axis=coarse)
    return apply_along(found, axis_matrix(found.shape[coarse], new_shape[coarse], order_z), axis=coarse)


def _resample_axes(
    channel: NDArray[np.float32], new_shape: Shape, *, axes: Sequence[int], order: int
) -> NDArray[np.float32]:
    """The axes that shrink come first: what follows then has less to do."""
    for axis in sorted(axes, key=lambda axis: new_shape[axis] / channel.shape[axis]):
        if channel.shape[axis] != new_shape[axis]:
            channel = apply_along(channel, axis_matrix(channel.shape[axis], new_shape[axis], order), axis=axis)
    return channel


def resample_labels(
    classes: NDArray[np.int16], new_shape: Shape, *, current_mm: Spacing, new_mm: Spacing, order: int = 1, order_z: int = 0
) -> NDArray[np.int16]:
    """A map of classes (z, y, x) on a grid of `new_shape`.

    Each class's mask is resampled with `order`, and the class with the largest share takes the voxel. Of equal shares that
    of the nearest voxel wins, or the lowest class where that is none of them. A coarse axis (see `separate_axis`) takes
    the nearest slice. One class is resampled at a time, inside the box it fills, so memory does not grow with the number
    of classes. Returns the input itself when the shape does not change.
    """
    if classes.shape == tuple(new_shape):
        return classes
    coarse = separate_axis(current_mm, new_mm)
    if coarse is None:
        return _resample_classes(classes, new_shape, order=order)
    inner = [classes.shape[axis] if axis == coarse else new_shape[axis] for axis in range(3)]
    found = _resample_classes(classes, inner, order=order)
    if order_z == 0:
        return found.take(nearest_indices(found.shape[coarse], new_shape[coarse]), axis=coarse)
    return _resample_classes(found, new_shape, order=order_z)


def _resample_classes(classes: NDArray[np.int16], new_shape: Sequence[int], *, order: int) -> NDArray[np.int16]:
    """The class with the largest share of each voxel."""
    if classes.shape == tuple(new_shape):
        return classes
    nearest: NDArray[np.int16] = classes[
        np.ix_(*(nearest_indices(old, new) for old, new in zip(classes.shape, new_shape, strict=True)))
    ]
    if order == 0:
        return nearest
    found: NDArray[np.int16] = nearest.copy()
    largest = np.zeros(new_shape, dtype=np.float32)
    is_close = np.zeros(new_shape, dtype=bool)
    for value, box in _boxes(classes):
        part, share = _resample_mask(classes[box] == value, box, shape=classes.shape, new_shape=new_shape, order=order)
        most = largest[part]
        is_close[part] |= (np.abs(share - most) <= SAME_SHARE) & (share > SAME_SHARE)
        found[part][share > most] = value
        np.maximum(most, share, out=most)
    del largest
    _settle(found, np.flatnonzero(is_close), classes, nearest, order=order)
    return found


def _settle(
    found: NDArray[np.int16],
    places: NDArray[np.intp],
    classes: NDArray[np.int16],
    nearest: NDArray[np.int16],
    *,
    order: int,
) -> None:
    """Decide `places` (n, counted through all axes) of `found`, where shares are as good as equal, in double precision.

    Where spacings have a simple ratio there are many of them. Only for linear shares, where eight voxels say everything.
    """
    if order != 1:
        return
    for first in range(0, len(places), PLACES_AT_A_TIME):
        some = np.unravel_index(places[first : first + PLACES_AT_A_TIME], found.shape)
        ends = [_ends(*each) for each in zip(some, classes.shape, found.shape, strict=True)]
        (z, y, x), (u, v, w) = ([pair[side] for pair in ends] for side in (0, 1))
        around = classes[z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]]
        weights = u[:, :, None, None] * v[:, None, :, None] * w[:, None, None, :]
        closest = nearest[some]
        chosen, most = np.zeros_like(closest), np.zeros(len(closest))
        for value in np.unique(around):
            share = np.where(around == value, weights, 0.0).sum(axis=(1, 2, 3))
            chosen[(share > most) | ((share == most) & (share > 0) & (closest == value))] = value
            np.maximum(most, share, out=most)
        found[some] = chosen


def _ends(places: NDArray[np.intp], size: int, new_size: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The two voxels of an old axis that each of `places` on the new one lies between, and their shares: both (n, 2)."""
    # As scipy reckons, to the last bit: what is a tie and what is not depends on it.
    at = np.clip((places + 0.5) * (size / new_size) - 0.5, 0, size - 1) if size != new_size else places.astype(float)
    lower = np.floor(at).astype(np.intp)
    upper = np.minimum(lower + 1, size - 1)
    return np.stack([lower, upper], axis=1), np.stack([1 - (at - lower), at - lower], axis=1)


def _boxes(classes: NDArray[np.int16]) -> list[tuple[int, tuple[slice, ...]]]:
    """Each class in the map, ascending, with the box it fills."""
    from scipy.ndimage import find_objects

    lowest = int(classes.min())
    boxes = find_objects(classes.astype(np.int32) - (lowest - 1))
    return [(value, box) for value, box in enumerate(boxes, start=lowest) if box is not None]


def _resample_mask(
    mask: NDArray[np.bool_], box: tuple[slice, ...], *, shape: Sequence[int], new_shape: Sequence[int], order: int
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """The part of the new grid that a mask filling `box` of the old one reaches, and its share of each voxel there."""
    share = mask.astype(np.float32)
    part = list(box)
    for axis in range(3):
        if shape[axis] != new_shape[axis]:
            matrix = axis_matrix(shape[axis], new_shape[axis], order)[:, box[axis]]
            reached = np.flatnonzero(matrix.any(axis=1))
            if len(reached) == 0:  # between the points that are sampled: the class vanishes
                return (slice(0, 0),) * 3, np.empty((0, 0, 0), dtype=np.float32)
            part[axis] = slice(int(reached[0]), int(reached[-1]) + 1)
            share = apply_along(share, matrix[part[axis]], axis=axis)
    return tuple(part), share
