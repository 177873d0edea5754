"""The box around what is not zero: images are cropped to it, and masks are compared within it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
"""Part of an image along (z, y, x)."""


def nonzero_box(voxels: NDArray[np.generic]) -> Box | None:
    """The smallest box that holds all voxels (z, y, x) that are not zero, or true in a mask; None if there are none.

    Filling the holes of a mask does not change its box.
    """
    z = _extent(voxels, 0)
    if z is None:
        return None
    within = voxels[z]
    y = _extent(within, 1)
    x = _extent(within[:, y], 2)
    assert y is not None, "some voxel within z is not zero"
    assert x is not None, "some voxel within z and y is not zero"
    return z, y, x


def around(first: Box | None, second: Box | None) -> Box | None:
    """The smallest box that holds both; None if there is neither."""
    if first is None or second is None:
        return first or second
    z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return z, y, x


def whole(shape: Sequence[int]) -> Box:
    """The box of all voxels of an image of `shape` (z, y, x)."""
    z, y, x = (slice(0, length) for length in shape)
    return z, y, x


def _extent(voxels: NDArray[np.generic], axis: int) -> slice | None:
    """From the first to the last slice along `axis` with a voxel that is not zero; None if there is none."""
    length = voxels.shape[axis]
    first = _first_nonzero(voxels, axis, range(length))
    if first is None:
        return None
    last = _first_nonzero(voxels, axis, range(length - 1, first - 1, -1))
    return slice(first, first + 1 if last is None else last + 1)


def _first_nonzero(voxels: NDArray[np.generic], axis: int, indices: Sequence[int]) -> int | None:
    # From the outside inwards: scans without an empty border are done after one slice at each end.
    slices = np.moveaxis(voxels, axis, 0)
    return next((index for index in indices if np.count_nonzero(slices[index])), None)
