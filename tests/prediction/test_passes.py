import threading

import pytest
import torch
from torch import nn

from autoseg.prediction.passes import Passes, Sweep
from autoseg.prediction.threads import one_thread


class Numbered(nn.Module):
    """Answers with the number of the call; counts the calls begun."""

    def __init__(self):
        super().__init__()
        self.begun, self.lock = 0, threading.Lock()

    def forward(self, image):
        with self.lock:
            self.begun += 1
        return image + 1


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_passes_come_in_their_order_and_few_are_made_ahead(workers):
    network = Numbered()
    stacks = [torch.full((1, 1, 2, 2), float(index)) for index in range(10)]
    with Passes(Sweep((2, 2), 1, workers=workers)) as passes:
        for index, logits in enumerate(passes(stacks, [(index, (), network) for index in range(10)])):
            assert bool((logits == index + 1).all())
            assert network.begun <= index + 1 + workers
    assert network.begun == 10


@pytest.mark.parametrize("stops", [False, True])
def test_this_thread_has_its_own_threads_back_afterwards(stops):
    before = torch.get_num_threads()
    network, stacks = Numbered(), [torch.zeros(1, 1, 2, 2)] * 4
    with Passes(Sweep((2, 2), 1, workers=2)) as passes:
        for _ in passes(stacks, [(index, (), network) for index in range(4)]):
            assert torch.get_num_threads() == 1
            if stops:
                break
    assert torch.get_num_threads() == before


def test_one_thread_lasts_as_long_as_it_is_wanted():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with one_thread(True):
            assert torch.get_num_threads() == 1
        with one_thread(False):
            assert torch.get_num_threads() == 3
        with pytest.raises(ValueError, match="stopped"), one_thread(True):
            raise ValueError("stopped")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
