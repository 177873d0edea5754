"""Whether there is anything in an image that can be predicted."""

import numpy as np
from numpy.typing import NDArray

from autoseg.data.check import channel_range
from autoseg.data.image import Image
from autoseg.errors import ImageError

LARGEST = float(np.finfo(np.float32).max)


def refuse_unusable(image: Image) -> None:
    """Raise ImageError for an image without voxels or voxel size, and for voxels that single precision cannot hold."""
    shape, spacing, kind = image.voxels.shape[1:], image.geometry.spacing_mm, image.voxels.dtype
    if kind.kind not in "biuf":
        raise ImageError(f"voxels are {kind}, expected plain integers or real numbers. Convert them.")
    if min(shape) == 0:
        raise ImageError(
            f"the image holds no voxels: its size is {' x '.join(map(str, shape))} (z, y, x). Replace the file."
        )
    if not all(np.isfinite(size) and size > 0 for size in spacing):
        raise ImageError(
            f"the voxel size is {' x '.join(f'{size:g}' for size in spacing)} mm (z, y, x), expected numbers above 0. "
            "Correct it in the header of the image."
        )
    if kind.kind == "f":
        for index, channel in enumerate(image.voxels):
            _refuse_no_numbers(channel, index)


def _refuse_no_numbers(channel: NDArray[np.generic], index: int) -> None:
    with np.errstate(invalid="ignore"):
        found = channel_range(channel)
    if found.not_numbers:
        raise ImageError(
            f"channel {index} holds {found.not_numbers} voxels that are NaN or infinite. Replace them by numbers."
        )
    largest = max(abs(found.lowest), abs(found.highest))
    if largest > LARGEST:
        raise ImageError(f"channel {index} holds values up to {largest:.3g}; at most {LARGEST:.3g} can be worked with.")
