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


def stamp(path: Path) -> FileStamp:
    """The stamp of the file at `path`. Raises ImageError when it cannot be read."""
    try:
        status = path.stat()
        return FileStamp(size=status.st_size, modified_ns=status.st_mtime_ns, digest=content_digest(path))
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}). Restore the file or correct its path.") from error


def content_digest(path: Path) -> str:
    """32 hexadecimal digits of the BLAKE2b digest of the file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
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
