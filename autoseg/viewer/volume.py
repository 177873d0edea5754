"""Volumes as the page takes them: NIfTI in memory, uncompressed, one channel, one clear geometry."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.data.image import Geometry
from autoseg.errors import ViewerError

MOST_VOXELS_ALONG = 32767
"""What NIfTI can say of an axis."""

_KEPT = ("uint8", "int16", "uint16", "float32")
"""Number types that go to the graphics card as they are."""
_LABEL_INTENT = 1002
_MILLIMETRES = 2
_SCANNER = 1
_SAMPLE = 500_000
_DARKEST, _BRIGHTEST = 0.5, 99.5
_FADING = 0.3


def as_nifti(
    voxels: NDArray[np.generic],
    geometry: Geometry,
    *,
    is_labels: bool = False,
    window: tuple[float, float] | None = None,
) -> Sequence[bytes | memoryview]:
    """Header and voxels (z, y, x) as one NIfTI file in pieces; `window` are the values shown darkest and brightest.

    The affine is that by which autoseg reads the file, and the only one: programs differ in which of two they believe.
    Raises ViewerError for an image longer than NIfTI can say.
    """
    nibabel: Any = import_module("nibabel")
    if max(voxels.shape) > MOST_VOXELS_ALONG:
        raise ViewerError(f"an image of {' x '.join(map(str, voxels.shape))} voxels cannot be shown in a browser.")
    drawable = np.ascontiguousarray(_drawable(voxels))
    header: Any = nibabel.Nifti1Header()
    header.set_data_dtype(drawable.dtype)
    header.set_data_shape(drawable.shape[::-1])
    affine = _affine(geometry)
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_sform(affine, code=_SCANNER)
    header["xyzt_units"] = _MILLIMETRES
    header["vox_offset"] = len(header.binaryblock) + 4
    header["magic"] = b"n+1"
    header["scl_slope"], header["scl_inter"] = 1, 0
    if is_labels:
        header["intent_code"] = _LABEL_INTENT
    if window is not None:
        header["cal_min"], header["cal_max"] = window
    return [header.binaryblock + bytes(4), drawable.data.cast("B")]


def grey_window(voxels: NDArray[np.generic]) -> tuple[float, float]:
    """The values to show darkest and brightest: all but the outermost half per cent of what is not zero."""
    seen = _sample(voxels)
    inside = seen[seen != 0] if (seen != 0).any() else seen
    low, high = np.percentile(inside, (_DARKEST, _BRIGHTEST)) if inside.size else (0.0, 1.0)
    # Around a skull-stripped brain lies air of value zero, which should be black.
    low = min(low, 0.0) if low < 0 or (seen == 0).any() else low
    return float(low), float(high if high > low else low + 1)


def heat_window(voxels: NDArray[np.generic]) -> tuple[float, float]:
    """The value below which a map of uncertainties fades out, and its highest."""
    high = float(np.nanmax(voxels, initial=0))
    high = high if 0 < high < np.inf else 1.0
    return _FADING * high, high


def _sample(voxels: NDArray[np.generic]) -> NDArray[np.float64]:
    flat = voxels.reshape(-1)
    seen = flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64)
    return seen[np.isfinite(seen)]


def _drawable(voxels: NDArray[np.generic]) -> NDArray[np.generic]:
    """The voxels in a number type that a graphics card takes, without NaN."""
    if np.iscomplexobj(voxels):
        voxels = np.abs(voxels)
    if voxels.dtype.name not in _KEPT:
        voxels = voxels.astype(_smallest(voxels))
    if voxels.dtype.kind == "f" and not bool(np.isfinite(voxels).all()):
        voxels = np.where(np.isfinite(voxels), voxels, 0)
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def _smallest(voxels: NDArray[np.generic]) -> np.dtype[Any]:
    if voxels.dtype.kind == "b":
        return np.dtype(np.uint8)
    if voxels.dtype.kind in "iu" and voxels.size and int(voxels.min()) >= -(2**15) and int(voxels.max()) < 2**15:
        return np.dtype(np.int16)
    return np.dtype(np.float32)


def _affine(geometry: Geometry) -> NDArray[np.float64]:
    """The affine of the grid; a picture, which has no slice distance, is as thick as its pixels are wide."""
    affine = np.array(geometry.affine, dtype=np.float64)
    if geometry.is_flat:
        affine[:3, 2] *= geometry.spacing_mm[2] / (np.linalg.norm(affine[:3, 2]) or 1.0)
    return affine
