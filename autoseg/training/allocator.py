"""Memory that a training takes again at every step, kept instead of given back and fetched anew."""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's settings, from its malloc.h."""

KEPT = 1 << 30
"""Blocks up to this size come from the process's own heap, and so much may lie free at its end before it shrinks."""
USUAL = 128 * 1024
"""glibc's own choice for both."""


@contextmanager
def kept_memory() -> Iterator[None]:
    """While this is open, freed blocks stay with the process; where the C library is not glibc nothing happens.

    glibc fetches large blocks from the system and gives them back at once, so that each step pays for clearing all its
    activations: a quarter of its time on a processor. May be opened within itself, and in several threads.
    """
    library = _glibc()
    if library is None:
        yield
        return
    _Open.more(library)
    try:
        yield
    finally:
        _Open.less(library)


class _Open:
    """How often memory is kept at the moment: the setting is the process's, and the last to leave puts it back."""

    lock = threading.Lock()
    count = 0

    @classmethod
    def more(cls, library: ctypes.CDLL) -> None:
        with cls.lock:
            cls.count += 1
            if cls.count == 1:
                _set(library, KEPT)

    @classmethod
    def less(cls, library: ctypes.CDLL) -> None:
        with cls.lock:
            cls.count -= 1
            if cls.count == 0:
                _set(library, USUAL)
                library.malloc_trim(0)


def _set(library: ctypes.CDLL, most_bytes: int) -> None:
    for setting in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
        library.mallopt(setting, most_bytes)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    has_all = all(hasattr(library, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim"))
    return library if has_all else None
