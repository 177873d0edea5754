"""Reading images and label maps of any format, and writing them: the only place that knows file formats."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from autoseg.data.dataset import Case
from autoseg.data.formats import dicom, itk, nifti, picture
from autoseg.data.formats.header import Digest, Header, Reader
from autoseg.data.image import Geometry, Image, compare_grids
from autoseg.errors import ImageError, number_of

_NIFTI = Reader(nifti.read_header, nifti.read_image, nifti.write_image, digested=nifti.read_image)
_ITK = Reader(itk.read_header, itk.read_image, itk.write_image)
_PICTURE = Reader(picture.read_header, picture.read_image, picture.write_image)

READERS: dict[str, Reader] = {
    ".nii.gz": _NIFTI,
    ".nii": _NIFTI,
    ".nrrd": _ITK,
    ".mha": _ITK,
    ".mhd": Reader(itk.read_header, itk.read_image),
    ".dcm": Reader(itk.read_header, itk.read_image),
    ".png": _PICTURE,
    ".tif": _PICTURE,
    ".tiff": _PICTURE,
    ".bmp": _PICTURE,
    ".jpg": Reader(picture.read_header, picture.read_image, picture.write_image, keeps_values=False),
    ".jpeg": Reader(picture.read_header, picture.read_image, picture.write_image, keeps_values=False),
}
"""How files are read, by ending (lower case). A folder stands for the DICOM series in it."""

PICTURE_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
"""Endings of formats without geometry."""

ROUNDING = 1e-3
"""A label value may be off a whole number by so much: 100 times a stored scaling of 0.01 is 0.99999998."""
_CHUNK = 1 << 20

_SERIES = Reader(dicom.read_header, dicom.read_image)


def is_image(path: Path) -> bool:
    """Whether the name of `path` ends like an image and is not hidden litter such as macOS' `._` files."""
    return not path.name.startswith(".") and path.name.lower().endswith(tuple(READERS))


def image_ending(path: Path) -> str:
    """The ending of an image file as it stands in READERS, e.g. ".nii.gz". Raises ImageError for an unknown one."""
    name = path.name.lower()
    for ending in READERS:  # .nii.gz stands before .nii would be tried, and no other ending contains another
        if name.endswith(ending):
            return ending
    raise ImageError(f"{path}: unknown image format. Known endings: {', '.join(READERS)}.")


def image_stem(path: Path) -> str:
    """The file name without its image ending: "case_07" for case_07.nii.gz."""
    return path.name[: -len(image_ending(path))]


def read_header(path: Path) -> Header:
    """Geometry and number of channels of the image at `path`, without reading voxels. Raises ImageError."""
    return _reader(path).header(path)


def read_image(path: Path, *, digest: Digest | None = None) -> Image:
    """The image at `path` (a file, or a folder with one DICOM series) as (channel, z, y, x) in its stored number type.

    A scaling in the header is applied. A `digest` takes in every byte of the file, on the way where the format allows it.
    Raises ImageError naming the file and what failed.
    """
    reader = _reader(path)
    if digest is None:
        return reader.image(path)
    if reader.digested is not None:
        return reader.digested(path, digest)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return reader.image(path)


def read_case(case: Case, root: Path, *, channels: Sequence[str]) -> Image:
    """All channels of a case as one image, in the order of `channels`; the geometry is that of the first file.

    Raises ImageError naming the case when files lie on different grids or hold another number of channels.
    """
    images = list(read_files(case, root, channels=channels))
    if len(images) == 1:
        return images[0]
    return Image(np.concatenate([image.voxels for image in images]), images[0].geometry)


def read_files(
    case: Case, root: Path, *, channels: Sequence[str], digests: Mapping[str, Digest] | None = None
) -> Iterator[Image]:
    """The image files of a case one after the other, so that no more than one needs memory.

    `digests` (by the name of the file in the case) take in the files. Raises ImageError as `read_case` does: for another
    grid at that file, for another number of channels at the end.
    """
    paths = case.image_paths(root)
    if len(paths) not in (1, len(channels)):
        raise ImageError(f"case {case.id}: {len(paths)} image files for the channels {', '.join(channels)}.")
    first, found = None, []
    for name, path in zip(case.images, paths, strict=True):
        image = read_image(path, digest=digests[name] if digests is not None else None)
        first = first or image.geometry
        _refuse_other_grid(case, paths[0], first, path, image.geometry)
        found.append(len(image.voxels))
        yield image
    if sum(found) != len(channels) or (len(paths) > 1 and max(found) > 1):
        counted = number_of(found[0], "channel") if len(found) == 1 else f"{found} channels"
        raise ImageError(
            f"case {case.id}: {counted} found in {', '.join(case.images)}; "
            f"expected {len(channels)} ({', '.join(channels)})."
        )


def read_labels(path: Path, *, digest: Digest | None = None) -> tuple[NDArray[np.integer], Geometry]:
    """The label map (z, y, x) at `path` as integers, and its geometry.

    Whole numbers stored as floats, or as integers with a scaling, become integers; a palette picture yields its indices
    and a grey picture stored as RGB one channel. A `digest` takes in the file. Raises ImageError for fractions, NaN,
    colours, or several channels.
    """
    image = read_image(path, digest=digest)
    values = image.voxels[0] if len(image.voxels) == 1 else _one_channel(image.voxels, path)
    return _whole_numbers(values, path), image.geometry


def write_labels(path: Path, labels: NDArray[np.integer], geometry: Geometry) -> None:
    """Write a label map (z, y, x) in the smallest number type that holds it; the ending of `path` chooses the format.

    A NIfTI file gets the very header that `geometry` carries. Raises ImageError where a format would change values.
    """
    ending = image_ending(path)
    if not READERS[ending].keeps_values:
        raise ImageError(f"{path}: {ending} would change label values. Use .png for pictures, .nii.gz for scans.")
    write_image(path, labels[None].astype(_label_type(labels)), geometry)


def write_image(path: Path, voxels: NDArray[np.generic], geometry: Geometry) -> None:
    """Write voxels (channel, z, y, x) with their geometry, whole or not at all; the ending of `path` chooses the format."""
    write = READERS[image_ending(path)].write
    if write is None:
        raise ImageError(f"{path}: this format can only be read. Use .nii.gz, .nrrd or .mha.")
    if voxels.shape[1:] != geometry.shape:
        raise ImageError(f"{path}: voxels {voxels.shape[1:]} do not lie on the grid {geometry.shape}.")
    write(path, voxels, geometry)


def voxel_stream(path: Path) -> AbstractContextManager[nifti.VoxelStream]:
    """The stored voxels of a NIfTI file, little by little. Raises ImageError for a file that cannot be read."""
    return nifti.voxel_stream(path)


def write_codes(path: Path, codes: NDArray[np.uint16], geometry: Geometry, *, largest: float) -> None:
    """Write numbers from 0 to `largest` (channel, z, y, x), given as codes from 0 to 65535, as NIfTI.

    NIfTI has no float16; readers multiply these codes with the slope in the header.
    """
    nifti.write_image(path, codes, geometry, largest / np.iinfo(np.uint16).max)


def _reader(path: Path) -> Reader:
    if path.is_dir():
        return _SERIES
    if not path.exists():
        raise ImageError(f"{path}: not found.")
    return READERS[image_ending(path)]


def _refuse_other_grid(case: Case, first: Path, expected: Geometry, path: Path, found: Geometry) -> None:
    for mismatch in compare_grids(expected, found):
        if not mismatch.is_drift:
            raise ImageError(
                f"case {case.id}: {mismatch.field} of {path.name} is {mismatch.second}, but that of {first.name} is "
                f"{mismatch.first}. Resample the channels onto one grid."
            )


def _one_channel(voxels: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    if path.name.lower().endswith(PICTURE_ENDINGS):
        indices = picture.read_palette_indices(path)
        if indices is not None:
            return indices[None]
        if bool((voxels == voxels[:1]).all()):
            grey: NDArray[np.generic] = voxels[0]
            return grey
        raise ImageError(f"{path}: the mask holds colours; expected one integer per pixel. Store labels as grey levels.")
    raise ImageError(f"{path}: the label map has {len(voxels)} channels; expected one. Merge them into one map of values.")


def _whole_numbers(values: NDArray[np.generic], path: Path) -> NDArray[np.integer]:
    if np.issubdtype(values.dtype, np.integer):
        return cast(NDArray[np.integer], values)
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    # A comparison with NaN is false, so NaN counts as no whole number.
    with np.errstate(invalid="ignore"):
        nearest = np.rint(values)
        whole: NDArray[np.integer] = nearest.astype(np.int64)
        wrong = ~(np.abs(values - nearest) <= ROUNDING)
    if wrong.any():
        raise ImageError(
            f"{path}: {int(wrong.sum())} label values are no whole numbers, such as {float(values[wrong].flat[0]):g}. "
            "Was the map resampled with interpolation? Use nearest neighbour."
        )
    found: NDArray[np.integer] = whole.astype(_label_type(whole))
    return found


def _label_type(labels: NDArray[np.integer]) -> np.dtype[np.integer]:
    """The smallest type that holds all values and that every format knows: unsigned where nothing is negative."""
    lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    kinds = (np.uint8, np.uint16, np.uint32) if lowest >= 0 else (np.int16, np.int32, np.int64)
    for kind in kinds:
        if np.iinfo(kind).min <= lowest and highest <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.int64)
