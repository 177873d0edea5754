"""What every image format offers: its header, its voxels, and where possible a way to write them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from autoseg.data.image import Geometry, Image
from autoseg.errors import ImageError


@dataclass(frozen=True, eq=False)
class Header:
    """What a file says about its image before any voxel is read."""

    geometry: Geometry
    channels: int


class Digest(Protocol):
    """What takes in the bytes of a file, as the objects of hashlib do."""

    def update(self, data: bytes, /) -> None:
        """Take in the next bytes."""


@dataclass(frozen=True, eq=False)
class DigestedFile:
    """An open file whose bytes go through a digest as they are read, in their order."""

    file: IO[bytes]
    digest: Digest

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size` of them."""
        data = self.file.read(size)
        self.digest.update(data)
        return data

    def readinto(self, target: memoryview) -> int:
        """Fill `target` with the next bytes; their number."""
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)


Writer = Callable[[Path, NDArray[np.generic], Geometry], None]
"""Writes voxels (channel, z, y, x) with their geometry to a path, whole or not at all."""


@dataclass(frozen=True)
class Reader:
    """How files of one format are read and written.

    `header` must not read voxels. `image` yields voxels (channel, z, y, x) in the stored number type. Both raise
    ImageError naming the file. `write` is None where a format can only be read; `keeps_values` is False where writing
    may change values. `digested` reads the image while a digest takes in the file; None where only a second pass can.
    """

    header: Callable[[Path], Header]
    image: Callable[[Path], Image]
    write: Writer | None = None
    keeps_values: bool = True
    digested: Callable[[Path, Digest], Image] | None = None


def unreadable(path: Path, reason: object) -> ImageError:
    """The error for a file that exists and yet cannot be read; `reason` says what failed."""
    text = " ".join(str(reason).split()).rstrip(".")
    return ImageError(f"{path}: cannot be read: {text}. The file is damaged or incomplete; copy or download it again.")
