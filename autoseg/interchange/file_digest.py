"""Digests of whole files, read piece by piece."""

import hashlib
from pathlib import Path

PIECE_BYTES = 2**20


def file_digest(path: Path) -> str:
    """The SHA-256 of the file at `path`: 64 hexadecimal digits."""
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            seen.update(piece)
    return seen.hexdigest()
