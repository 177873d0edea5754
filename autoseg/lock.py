"""A lock on a folder that dies with the process that holds it."""

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from autoseg.artefacts import refuse_unwritable
from autoseg.errors import AutosegError

LOCK_FILE = "running.lock"
EVERY_S = 0.2
"""Between two looks at whether a lock is free."""

logger = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, *, refuse: Callable[[str], AutosegError] | None = None) -> Iterator[None]:
    """Hold the lock of `folder` (made if it is not there).

    The operating system frees it when this process ends, however it ends. While another process holds it, `refuse` makes
    the error to raise from that one's name; without it the lock is waited for, which is said once.
    """
    refuse_unwritable(folder, remedy="Free space, or work in another workspace with -w.")
    path = folder / LOCK_FILE
    file, said = _attempt(path), False
    while isinstance(file, str):
        if refuse is not None:
            raise refuse(file)
        if not said:
            logger.info("%s: waiting for %s, which works here", folder, file)
            said = True
        time.sleep(EVERY_S)
        file = _attempt(path)
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
    finally:
        # Still under the lock. Windows deletes no file that is open.
        if sys.platform != "win32":
            path.unlink(missing_ok=True)
        file.close()


def _attempt(path: Path) -> IO[str] | str:
    """The open lock file, now ours, or the name of the process that holds it."""
    file = path.open("a+", encoding="utf-8")
    if not _taken(file):
        with file:
            file.seek(0)
            return file.read().strip() or "another process"
    # Between opening and locking the holder may have ended and removed the file: this is then the lock of nothing.
    if sys.platform == "win32" or (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))):
        return file
    file.close()
    return _attempt(path)


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
