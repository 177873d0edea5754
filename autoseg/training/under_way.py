"""What each thread that makes batches is at, for messages about those that fail or hang."""

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from autoseg.errors import AutosegError
from autoseg.parallel import CaseFailedError
from autoseg.training.thrift import is_out_of_memory

FRAMES_SHOWN = 8

_under_way: dict[int, str] = {}
"""By thread."""

logger = logging.getLogger(__name__)


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Note that this thread is at `what`, a case and a stage.

    What goes wrong inside leaves as CaseFailedError, which names both and holds the traceback. An AutosegError, which is
    the user's to solve, and a lack of memory, after which the case is tried again, stay what they are.
    """
    thread = threading.get_ident()
    before = _under_way.get(thread)
    _under_way[thread] = what
    try:
        yield
    except (AutosegError, CaseFailedError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            logger.warning("%s: out of memory", what)
            raise
        raise CaseFailedError(f"making batches: {what} failed:\n{traceback.format_exc()}") from error
    finally:
        if before is None:
            del _under_way[thread]
        else:
            _under_way[thread] = before


def report(prefix: str) -> str:
    """What the threads whose names begin with `prefix` are at, one after the other, each with the end of its stack."""
    frames = sys._current_frames()
    found = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or -1)
        if thread.name.startswith(prefix) and frame is not None:
            stack = "".join(traceback.format_stack(frame)[-FRAMES_SHOWN:])
            found.append(f"{thread.name} is at {_under_way.get(thread.ident or -1, 'nothing')}:\n{stack}")
    return "".join(found) or f"no thread called {prefix} is alive.\n"
