"""SIGINT and SIGTERM held back until a training has written its checkpoint."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

CAUGHT = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """A function that says whether a signal has come; a second signal acts at once.

    Outside the main thread, where Python delivers no signals, it always says False.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = {int(number): signal.getsignal(number) for number in CAUGHT}

    def note(number: int, frame: FrameType | None) -> None:
        came.set()
        # Whoever asks twice does not want to wait for the checkpoint.
        signal.signal(number, before[number])

    for caught in CAUGHT:
        signal.signal(caught, note)
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
