"""What autoseg relies on in a reader of image files."""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from autoseg.data.formats.header import Reader
from autoseg.data.image import Image, compare_grids
from autoseg.data.readers import READERS
from autoseg.errors import ImageError
from autoseg.testing.promise import named, require


def check_reader(reader: str | Reader, *, example: Path) -> None:
    """Try a reader on the file `example`: header against voxels, damaged files, and writing where it can write."""
    chosen: Reader = named("image format", reader, READERS)
    header, image = chosen.header(example), chosen.image(example)
    require(image.voxels.ndim == 4, f"voxels must be (channel, z, y, x), found {image.voxels.ndim} axes")
    require(image.voxels.dtype.kind in "iuf", f"voxels must be integers or real numbers, found {image.voxels.dtype}")
    require(
        image.voxels.shape == (header.channels, *header.geometry.shape),
        f"the header says {header.channels} channels of {header.geometry.shape}, the voxels are {image.voxels.shape}",
    )
    require(header.geometry.shape == image.geometry.shape, "header and image must have one shape")
    found = compare_grids(header.geometry, image.geometry)
    require(not found, f"header and image must have one geometry; they differ in {', '.join(item.field for item in found)}")
    with tempfile.TemporaryDirectory() as folder:
        if example.is_file():
            _check_damaged(chosen, example, Path(folder))
        if chosen.write is not None:
            _check_written(chosen, image, Path(folder) / f"written-{example.name}")


def _check_damaged(reader: Reader, example: Path, folder: Path) -> None:
    whole = example.read_bytes()
    for what, content in (("empty", b""), ("truncated", whole[: len(whole) // 2]), ("foreign", b"no image at all" * 100)):
        shutil.copytree(example.parent, folder / what)
        damaged = folder / what / example.name
        damaged.write_bytes(content)
        try:
            reader.image(damaged)
        except ImageError as error:
            require(str(damaged) in str(error), f"the error for a file that is {what} must name it; found: {error}")
        except Exception as error:
            raise AssertionError(
                f"a file that is {what} must raise ImageError, not {type(error).__name__}: {error}"
            ) from error
        else:
            raise AssertionError(f"a file that is {what} must raise ImageError; it was read")


def _check_written(reader: Reader, image: Image, path: Path) -> None:
    assert reader.write is not None
    reader.write(path, image.voxels, image.geometry)
    again = reader.image(path)
    found = compare_grids(image.geometry, again.geometry)
    require(not found, f"a file must keep its geometry; {', '.join(item.field for item in found)} changed")
    if reader.keeps_values:
        require(np.array_equal(again.voxels, image.voxels), "a file must keep its voxels when `keeps_values` is True")
    left = [other.name for other in path.parent.iterdir() if other.name.startswith(".writing-")]
    require(not left, f"writing must leave nothing else behind, found {', '.join(left)}")
