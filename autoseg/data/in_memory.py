"""Images that are in memory already, as arrays or as nibabel or SimpleITK images: taken in, and label maps given back."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.data.formats import itk
from autoseg.data.image import FLAT_SPACING_MM, Geometry, Image, Spacing, compare_grids
from autoseg.errors import ImageError

GiveBack = Callable[[NDArray[np.integer]], Any]
"""Makes a label map (z, y, x) into what the image was: an array, a nibabel or SimpleITK image, or an Image."""


def take_in(
    given: Any, *, spacing_mm: Sequence[float] | None = None, orientation: str | None = None
) -> tuple[Image, GiveBack]:
    """The image that `given` holds, and how to give its label map back in the same form.

    Understood are an Image, an array (y, x), (z, y, x) or (channel, z, y, x) with its `spacing_mm` (z, y, x), a nibabel
    image (the fourth axis are channels), a SimpleITK image, and a sequence of these, one for each channel. An array says
    nothing of its orientation; it is taken to be `orientation`, such as "RAS".

    Raises ImageError for anything else, for an array without spacing, and for channels on different grids.
    """
    if isinstance(given, (list, tuple)):
        return _stacked([take_in(one, spacing_mm=spacing_mm, orientation=orientation) for one in given])
    if isinstance(given, Image):
        return given, lambda labels: replace(given, voxels=labels[None])
    if isinstance(given, np.ndarray):
        return _from_array(given, spacing_mm, orientation or "LPS")
    if hasattr(given, "affine") and hasattr(given, "dataobj"):
        return _from_nibabel(given)
    if hasattr(given, "GetDirection") and hasattr(given, "GetPixelID"):
        return itk.image_in_memory(given), lambda labels: _itk_labels(labels, given)
    raise ImageError(
        f"an image of type {type(given).__name__} is not understood. Give a numpy array, a nibabel or SimpleITK image, or "
        "a list with one of these for each channel."
    )


def _stacked(parts: Sequence[tuple[Image, GiveBack]]) -> tuple[Image, GiveBack]:
    if not parts:
        raise ImageError("an empty list of channels was given. Give one image for each channel of the model.")
    first, give_back = parts[0]
    for number, (image, _) in enumerate(parts[1:], start=1):
        for mismatch in compare_grids(first.geometry, image.geometry):
            if not mismatch.is_drift:
                raise ImageError(
                    f"{mismatch.field} of channel {number} is {mismatch.second}, but that of channel 0 is "
                    f"{mismatch.first}. Resample the channels onto one grid."
                )
    return Image(np.concatenate([image.voxels for image, _ in parts]), first.geometry), give_back


def _from_array(array: NDArray[Any], spacing_mm: Sequence[float] | None, orientation: str) -> tuple[Image, GiveBack]:
    if array.ndim not in (2, 3, 4):
        raise ImageError(f"an array has the shape {array.shape}; expected (y, x), (z, y, x) or (channel, z, y, x).")
    is_flat = array.ndim == 2
    if spacing_mm is None and not is_flat:
        raise ImageError("an array has no voxel size. Give it in millimetres: spacing_mm=(z, y, x).")
    given = (1.0, 1.0) if spacing_mm is None else _sizes(spacing_mm)
    spacing = (FLAT_SPACING_MM, *given[-2:]) if is_flat else given
    if len(spacing) != 3 or not all(size > 0 for size in spacing):
        raise ImageError(f"spacing_mm {spacing_mm}: expected three numbers above 0, those of (z, y, x).")
    voxels = array.reshape((1,) * (4 - array.ndim) + array.shape)
    z, y, x = spacing
    geometry = Geometry(_three(voxels.shape[1:]), (z, y, x), _affine((z, y, x), orientation))
    return Image(voxels, geometry), lambda labels: labels[0] if is_flat else labels


def _sizes(spacing_mm: Any) -> tuple[float, ...]:
    """The numbers of a voxel size in whatever form it came; none where it is nothing of the kind."""
    try:
        return tuple(float(size) for size in spacing_mm)
    except (TypeError, ValueError):
        return ()


def _affine(spacing: Spacing, orientation: str) -> NDArray[np.float64]:
    """The affine of a grid at the origin whose axes (x, y, z) point as `orientation` says."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (code, size) in enumerate(zip(orientation, spacing[::-1], strict=True)):
        world = next(index for index, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        affine[world, axis] = size if code in "RAS" else -size
    return affine


def _from_nibabel(given: Any) -> tuple[Image, GiveBack]:
    stored = np.asanyarray(given.dataobj)
    if stored.ndim not in (3, 4):
        raise ImageError(f"the nibabel image has the shape {stored.shape}; expected three axes, and a fourth for channels.")
    voxels = stored.T if stored.ndim == 4 else stored.T[None]
    z, y, x = (float(size) for size in given.header.get_zooms()[2::-1])
    geometry = Geometry(_three(voxels.shape[1:]), (z, y, x), np.array(given.affine, dtype=np.float64))

    def give_back(labels: NDArray[np.integer]) -> Any:
        header = given.header.copy()
        header.set_data_dtype(labels.dtype)
        return type(given)(labels.T, given.affine, header)

    return Image(voxels, geometry), give_back


def _itk_labels(labels: NDArray[np.integer], given: Any) -> Any:
    is_flat = given.GetDimension() == 2
    found = itk.itk_image(labels[None], is_flat=is_flat)
    axes = found.GetDimension()
    if given.GetDimension() == axes:
        found.CopyInformation(given)
        return found
    # The fourth axis held the channels.
    direction = np.array(given.GetDirection()).reshape(given.GetDimension(), -1)[:axes, :axes]
    found.SetSpacing(given.GetSpacing()[:axes])
    found.SetOrigin(given.GetOrigin()[:axes])
    found.SetDirection([float(value) for value in direction.ravel()])
    return found


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    z, y, x = shape
    return z, y, x
