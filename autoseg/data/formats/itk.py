"""NRRD, MetaImage and other files that SimpleITK reads with their geometry."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.artefacts import written_whole
from autoseg.data.formats.header import Header, unreadable
from autoseg.data.image import FLAT_SPACING_MM, Geometry, Image
from autoseg.errors import ImageError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@cache
def simpleitk() -> Any:
    """SimpleITK, told to keep its C++ warnings off the terminal."""
    module: Any = import_module("SimpleITK")
    module.ProcessObject.SetGlobalWarningDisplay(False)
    return module


def read_header(path: Path) -> Header:
    """The header of a file that SimpleITK knows; no voxels are read."""
    found = read_information(path)
    return Header(_geometry(found, path), _channels(found, path))


def read_image(path: Path) -> Image:
    """Voxels (channel, z, y, x) and geometry; several components per pixel, or a fourth axis, are the channels."""
    return image_in_memory(read_voxels(path), path)


def image_in_memory(found: Any, name: Path = Path("the SimpleITK image")) -> Image:
    """The voxels (channel, z, y, x) and geometry of a SimpleITK image; errors name it `name`."""
    geometry = _geometry(found, name)
    return Image(channels_first(found).reshape(_channels(found, name), *geometry.shape), geometry)


def write_image(path: Path, voxels: NDArray[np.generic], geometry: Geometry) -> None:
    """Write voxels (channel, z, y, x) with their geometry, compressed; the ending of `path` chooses the format."""
    image = itk_image(voxels, is_flat=geometry.is_flat)
    direction = _LPS_TO_RAS @ geometry.direction
    origin = _LPS_TO_RAS @ np.array(geometry.origin_mm)
    axes = image.GetDimension()
    image.SetSpacing([float(size) for size in geometry.spacing_mm[::-1][:axes]])
    image.SetOrigin([float(value) for value in origin[:axes]])
    image.SetDirection([float(value) for value in direction[:axes, :axes].ravel()])
    write_itk(path, image)


def read_information(path: Path) -> Any:
    """A reader that knows the size, type and geometry of the file at `path`. Raises ImageError."""
    reader = simpleitk().ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with _quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(path, _reason(error)) from error
    return reader


def read_voxels(path: Path) -> Any:
    """The SimpleITK image at `path`. Raises ImageError."""
    reader = simpleitk().ImageFileReader()
    reader.SetFileName(str(path))
    return execute(reader, path)


def execute(reader: Any, path: Path) -> Any:
    """What a SimpleITK reader of one or more files yields; `path` is named in the ImageError when it fails."""
    try:
        with _quiet():
            return reader.Execute()
    except RuntimeError as error:
        raise unreadable(path, _reason(error)) from error


def channels_first(image: Any) -> NDArray[np.generic]:
    """The voxels of a SimpleITK image with its components, if there are several, in front."""
    voxels: NDArray[np.generic] = simpleitk().GetArrayFromImage(image)
    return np.moveaxis(voxels, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else voxels


def itk_image(voxels: NDArray[np.generic], *, is_flat: bool) -> Any:
    """A SimpleITK image of voxels (channel, z, y, x), 2-D if flat, with channels as components."""
    spatial = voxels[:, 0] if is_flat else voxels
    if len(voxels) == 1:
        return simpleitk().GetImageFromArray(np.ascontiguousarray(spatial[0]))
    return simpleitk().GetImageFromArray(np.ascontiguousarray(np.moveaxis(spatial, 0, -1)), isVector=True)


FULL_BYTES = 1 << 20
"""A disk with less room counts as full: SimpleITK does not say what went wrong."""


def write_itk(path: Path, image: Any) -> None:
    """Write a SimpleITK image to `path`, whole or not at all. Raises ImageError for a type the format cannot hold."""
    with TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        try:
            simpleitk().WriteImage(image, str(draft), useCompression=True)
        except RuntimeError as error:
            if (free := shutil.disk_usage(folder).free) < FULL_BYTES:
                reason = f"the disk of {folder}, where it is made, has {free / 2**20:.1f} MiB free"
                raise ImageError(f"{path}: cannot be written ({reason}). Free space or set TMPDIR.") from error
            kind = image.GetPixelIDTypeAsString()
            raise ImageError(f"{path}: {kind} voxels cannot be stored in this format ({_reason(error)}).") from error
        with written_whole(path) as target, draft.open("rb") as source:
            shutil.copyfileobj(source, target)


def affine_from_lps(direction: NDArray[np.float64], spacing: NDArray[np.float64], origin: Any) -> NDArray[np.float64]:
    """The RAS affine (4x4) of a direction matrix, spacing (x, y, z) and origin in DICOM's LPS coordinates."""
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ direction * spacing
    affine[:3, 3] = _LPS_TO_RAS @ np.asarray(origin, dtype=np.float64)
    return affine


def _channels(found: Any, path: Path) -> int:
    # Readers and images call the same number by two names.
    count = getattr(found, "GetNumberOfComponents", None) or found.GetNumberOfComponentsPerPixel
    components, axes = int(count()), len(found.GetSize())
    if axes > 4 or (axes == 4 and components > 1):
        raise ImageError(f"{path}: the file has {axes} axes and {components} components; expected three axes and channels.")
    return int(found.GetSize()[3]) if axes == 4 else components


def _geometry(found: Any, path: Path) -> Geometry:
    """Geometry of a 2-D, 3-D or 4-D SimpleITK image or reader; 2-D ones get the slice distance of a flat image."""
    axes = len(found.GetSize())
    if axes < 2:
        raise ImageError(f"{path}: the file has {axes} axis; expected an image with two or three.")
    used = min(axes, 3)
    size, spacing, origin, direction = np.ones(3, dtype=int), np.ones(3), np.zeros(3), np.eye(3)
    spacing[2] = FLAT_SPACING_MM
    size[:used] = found.GetSize()[:used]
    spacing[:used] = found.GetSpacing()[:used]
    origin[:used] = found.GetOrigin()[:used]
    direction[:used, :used] = np.array(found.GetDirection()).reshape(axes, axes)[:used, :used]
    x, y, z = (int(n) for n in size)
    sx, sy, sz = (float(mm) for mm in spacing)
    return Geometry((z, y, x), (sz, sy, sx), affine_from_lps(direction, spacing, origin))


def _reason(error: RuntimeError) -> str:
    """What failed, out of ITK's long message (which begins with source files and addresses)."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Reason:")]
    last = told[-1] if told else "unknown reason"
    if "Unable to determine ImageIO" in last:
        return "its content is of no known image format"
    return last.partition("): ")[2] or last


class _Stderr:
    """The process's error stream while C libraries are kept from writing to it; `users` counts who needs that now."""

    lock = Lock()
    users = 0
    original = -1


@contextmanager
def _quiet() -> Iterator[None]:
    """No text from C code on the terminal: libpng, libtiff and MetaIO print beside the error that they raise."""
    with _Stderr.lock:
        _Stderr.users += 1
        if _Stderr.users == 1:
            sys.stderr.flush()
            _Stderr.original = os.dup(2)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
    try:
        yield
    finally:
        with _Stderr.lock:
            _Stderr.users -= 1
            if _Stderr.users == 0:
                os.dup2(_Stderr.original, 2)
                os.close(_Stderr.original)
