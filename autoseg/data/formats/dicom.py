"""A folder with the slices of one DICOM series."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autoseg.data.formats import itk
from autoseg.data.formats.header import Header
from autoseg.data.image import Geometry, Image
from autoseg.errors import ImageError, number_of

_DESCRIPTION = "0008|103e"


def read_header(folder: Path) -> Header:
    """Size and geometry of the series in `folder`, from its first and last slice."""
    files = _slices(folder)
    first, last = itk.read_information(Path(files[0])), itk.read_information(Path(files[-1]))
    direction = np.array(first.GetDirection()).reshape(3, 3)
    spacing = np.array(first.GetSpacing(), dtype=np.float64)
    x, y, z = (int(n) for n in first.GetSize())
    if len(files) > 1:
        way = np.array(last.GetOrigin()) - np.array(first.GetOrigin())
        z, spacing[2] = len(files), float(np.linalg.norm(way)) / (len(files) - 1)
        direction[:, 2] = way / (np.linalg.norm(way) or 1)
    affine = itk.affine_from_lps(direction, spacing, first.GetOrigin())
    sx, sy, sz = (float(mm) for mm in spacing)
    return Header(Geometry((z, y, x), (sz, sy, sx), affine), int(first.GetNumberOfComponents()))


def read_image(folder: Path) -> Image:
    """Voxels (channel, z, y, x) of the series in `folder`, in modality units (CT: Hounsfield).

    Raises ImageError when the folder holds no series or several, or when slices are missing.
    """
    files = _slices(folder)
    _refuse_gaps(files, folder)
    reader = itk.simpleitk().ImageSeriesReader()
    reader.SetFileNames(files)
    found = itk.execute(reader, folder)
    header = read_header(folder)
    voxels = itk.channels_first(found).reshape(header.channels, *header.geometry.shape)
    return Image(np.ascontiguousarray(voxels), header.geometry)


def _slices(folder: Path) -> list[str]:
    """The files of the only series in `folder`, along the normal of the slices."""
    series = itk.simpleitk().ImageSeriesReader
    found = list(series.GetGDCMSeriesIDs(str(folder)))
    if not found:
        raise ImageError(f"{folder}: no DICOM series found in this folder. Name an image file or a folder of DICOM slices.")
    files = {name: list(series.GetGDCMSeriesFileNames(str(folder), name)) for name in found}
    if len(files) > 1:
        listed = "; ".join(
            f"{_description(names[0])} ({number_of(len(names), 'slice')}, {uid})" for uid, names in files.items()
        )
        raise ImageError(f"{folder}: {len(files)} DICOM series in one folder: {listed}. Give each series its own folder.")
    return files[found[0]]


def _description(file: str) -> str:
    found = itk.read_information(Path(file))
    return str(found.GetMetaData(_DESCRIPTION)).strip() if found.HasMetaDataKey(_DESCRIPTION) else "without description"


def _refuse_gaps(files: Sequence[str], folder: Path) -> None:
    origins = np.array([itk.read_information(Path(file)).GetOrigin() for file in files])
    gaps = np.linalg.norm(np.diff(origins, axis=0), axis=1)
    # Table positions are rounded; a missing slice doubles a gap.
    if len(gaps) and gaps.max() > 1.1 * gaps.mean():
        after = Path(files[int(gaps.argmax())]).name
        raise ImageError(
            f"{folder}: slices lie {gaps.min():.4g} to {gaps.max():.4g} mm apart (the widest gap follows {after}); "
            "slices are missing or the distance varies. Complete the series, or convert it to an evenly spaced NIfTI file."
        )
