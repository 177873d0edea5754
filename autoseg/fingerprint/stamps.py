"""Telling whether files have changed since they were read."""

import hashlib
from pathlib import Path

from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.errors import ImageError

_CHUNK = 1 << 20


class FileStamp(BaseModel):
    """Size (bytes), time of the last change (nanoseconds) and digest of the content of a file."""

    model_config = FROZEN
    size: int
    modified_ns: int
    digest: str


class Stamping:
    """The stamp of a file whose bytes are taken in while somebody else reads it.

    Size and time are those from before reading: a file that changes meanwhile counts as changed. Raises ImageError when
    there is no file at `path`.
    """

    def __init__(self, path: Path) -> None:
        try:
            status = path.stat()
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror}). Restore the file or correct its path.") from error
        self._size, self._modified_ns, self._digest = status.st_size, status.st_mtime_ns, _new_digest()

    def update(self, data: bytes, /) -> None:
        """Take in the next bytes of the file."""
        self._digest.update(data)

    def stamp(self) -> FileStamp:
        """The stamp, once the file has been read to its end."""
        return FileStamp(size=self._size, modified_ns=self._modified_ns, digest=self._digest.hexdigest())


def _new_digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def content_digest(path: Path) -> str:
    """32 hexadecimal digits of the BLAKE2b digest of the file's bytes."""
    digest = _new_digest()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_unchanged(path: Path, known: FileStamp) -> bool:
    """Whether the file still holds what it held: same size and time, else same content."""
    try:
        status = path.stat()
        if status.st_size != known.size:
            return False
        return status.st_mtime_ns == known.modified_ns or content_digest(path) == known.digest
    except OSError:
        return False
