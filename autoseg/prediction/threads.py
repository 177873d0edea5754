"""How many threads work on what lies between the passes of networks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

FEW_VALUES = 2**22
"""So many scores are added up and compared by one thread as fast as by several: they take milliseconds."""


@contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """While it lasts this thread computes alone, if `wanted`.

    A second one, that has to wait for a core which a pass, a reader or a writer is using, takes longer than it saves.
    """
    before = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
