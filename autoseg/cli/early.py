"""Ctrl-C before a command has begun: while Python still imports it, a traceback would be all there is to see."""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


def _is_command() -> bool:
    """Whether this process runs one of the commands, not someone else's program that imports them."""
    return bool(sys.argv) and Path(sys.argv[0]).name.startswith("autoseg")


def begin() -> None:
    """From here on an interrupt is an exception again, for whoever has something to save."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if _is_command() and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, _leave)
