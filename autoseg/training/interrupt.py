"""SIGINT and SIGTERM held back until a training has written its checkpoint."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

CAUGHT = (signal.SIGINT, signal.SIGTERM)
SAME_S = 1.0
"""A signal that comes again so soon is the same one: terminals and launchers give it to a process and to its parent."""


@contextmanager
def held_back(clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[], bool]]:
    """A function that says whether a signal has come; the same signal again, a second later or more, acts at once.

    Outside the main thread, where Python delivers no signals, it always says False.
    """
    came = threading.Event()
    first_s: dict[int, float] = {}
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = {int(number): signal.getsignal(number) for number in CAUGHT}

    def note(number: int, frame: FrameType | None) -> None:
        came.set()
        if clock() - first_s.setdefault(number, clock()) > SAME_S:
            # Whoever asks twice does not want to wait for the checkpoint.
            signal.signal(number, before[number])
            signal.raise_signal(number)

    for caught in CAUGHT:
        signal.signal(caught, note)
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
