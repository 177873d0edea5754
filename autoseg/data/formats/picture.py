"""Pictures (PNG, TIFF, BMP, JPEG): no geometry of their own, several colours, sometimes several pages."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.artefacts import written_whole
from autoseg.data.formats import itk
from autoseg.data.formats.complete import refuse_truncated
from autoseg.data.formats.header import Header, unreadable
from autoseg.data.image import FLAT_SPACING_MM, Geometry, Image, Spacing
from autoseg.errors import ImageError

_WITHOUT_ALPHA = {2: 1, 4: 3}


def read_header(path: Path) -> Header:
    """Size and colours of a picture; a TIFF of several pages is a 3-D image.

    Resolution tags are ignored, because they hold the size of a print: every pixel is 1 mm wide.
    """
    found = itk.read_information(path)
    components = int(found.GetNumberOfComponents())
    return Header(_geometry(found.GetSize(), path), _WITHOUT_ALPHA.get(components, components))


def read_image(path: Path) -> Image:
    """Pixels (colour, page, y, x); an alpha channel is dropped."""
    refuse_truncated(path)
    found = itk.read_voxels(path)
    geometry = _geometry(found.GetSize(), path)
    components = int(found.GetNumberOfComponentsPerPixel())
    kept = _WITHOUT_ALPHA.get(components, components)
    pixels = itk.channels_first(found).reshape(components, *geometry.shape)[:kept]
    return Image(np.ascontiguousarray(pixels), geometry)


def write_image(path: Path, voxels: NDArray[np.generic], geometry: Geometry) -> None:
    """Write pixels (colour, page, y, x); several pages only as TIFF, with a note of their spacing unless it is 1 mm."""
    if geometry.shape[0] > 1 and not path.name.lower().endswith((".tif", ".tiff")):
        raise ImageError(f"{path}: a 3-D image cannot be stored in this format. Use .nii.gz, .nrrd, .mha or .tif.")
    # The note comes first, so that no image lies there without it.
    if geometry.shape[0] > 1 and geometry.spacing_mm != _noted_spacing(path):
        with written_whole(path.with_name(f"{path.name[: -len(path.suffix)]}.json")) as file:
            file.write(json.dumps({"spacing": list(geometry.spacing_mm)}).encode())
    image = itk.itk_image(voxels, is_flat=geometry.shape[0] == 1)
    itk.write_itk(path, image)


def read_palette_indices(path: Path) -> NDArray[np.integer] | None:
    """The indices (y, x) of a picture whose pixels point into a colour table; None for any other picture."""
    import PIL.Image

    with PIL.Image.open(path) as picture:
        return np.asarray(picture) if picture.mode == "P" else None


def _geometry(size: Any, path: Path) -> Geometry:
    x, y, z = (int(n) for n in (*size, 1)[:3])
    spacing = (FLAT_SPACING_MM, 1.0, 1.0) if len(size) == 2 else _noted_spacing(path)
    affine = itk.affine_from_lps(np.eye(3), np.array(spacing[::-1]), np.zeros(3))
    return Geometry((z, y, x), spacing, affine)


def _noted_spacing(path: Path) -> Spacing:
    """Spacing (z, y, x) of a 3-D TIFF from nnU-Net's file beside it (CASE.json with the key spacing), else 1 mm."""
    stem = path.name[: -len(path.suffix)]
    names = [stem, stem[:-5]] if stem[-5:-4] == "_" and stem[-4:].isdigit() else [stem]
    for note in (path.with_name(f"{name}.json") for name in names):
        if note.is_file():
            try:
                z, y, x = (float(mm) for mm in json.loads(note.read_text(encoding="utf-8"))["spacing"])
            except (ValueError, KeyError, TypeError) as error:
                raise unreadable(note, f"expected the key spacing with three numbers ({error})") from error
            return z, y, x
    return 1.0, 1.0, 1.0
