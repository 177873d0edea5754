"""A lock on a folder that dies with the process that holds it."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from autoseg.artefacts import refuse_unwritable
from autoseg.errors import TrainingError

LOCK_FILE = "running.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder` (made if it is not there).

    The operating system frees it when this process ends, however it ends. Raises TrainingError naming the process that
    holds it.
    """
    refuse_unwritable(folder, remedy="Free space, or train into another workspace with -w.")
    path = folder / LOCK_FILE
    with path.open("a+", encoding="utf-8") as file:
        if not _taken(file):
            file.seek(0)
            raise TrainingError(
                f"{folder}: another run is training here ({file.read().strip() or 'unknown process'}). Wait for it, stop "
                "it, or train beside it with --name."
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _taken(file: IO[str]) -> bool:
    """Whether this process got the lock of the open `file`."""
    if sys.platform == "win32":
        import msvcrt

        # A byte far beyond the text, so that others can still read who holds it.
        file.seek(1 << 20)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
