"""Where to look first."""

import numpy as np
from numpy.typing import NDArray

from autoseg.data.box import nonzero_box


def middle_of_largest(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The voxel (z, y, x) of the largest connected part of `mask` that is nearest to its centre; the middle if empty."""
    from scipy.ndimage import label

    box = nonzero_box(mask)
    if box is None:
        z, y, x = ((length - 1) // 2 for length in mask.shape)
        return z, y, x
    parts, _ = label(mask[box])
    points = np.argwhere(parts == np.bincount(parts.ravel())[1:].argmax() + 1)
    nearest = points[((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    z, y, x = (int(index) + side.start for index, side in zip(nearest, box, strict=True))
    return z, y, x
