import logging
import threading
import time
from dataclasses import dataclass

import pytest
import torch

from autoseg.errors import TrainingError
from autoseg.parallel import CaseFailedError
from autoseg.training.loader import THREADS, prefetch
from autoseg.training.under_way import doing
from tests.training.tiny import Discs


@dataclass
class Faulty:
    """Discs, but one iteration goes wrong inside a case's stage."""

    iteration: int
    error: BaseException | None = None
    times: int = 1000
    pause_s: float = 0.0

    def batch(self, epoch, iteration):
        if iteration == self.iteration:
            with doing("case ill7: augmenting a patch"):
                time.sleep(self.pause_s)
                self.times -= 1
                if self.error is not None and self.times >= 0:
                    raise self.error
        return Discs().batch(epoch, iteration)


def test_a_bug_in_a_loader_thread_is_reported_with_its_own_traceback_case_and_stage():
    with pytest.raises(CaseFailedError) as caught:
        list(prefetch(Faulty(2, ZeroDivisionError("deep inside")), epoch=0, iterations=5))
    message = str(caught.value)
    assert message.startswith("making batches: case ill7: augmenting a patch failed:\nTraceback (most recent call last)")
    assert "ZeroDivisionError: deep inside" in message
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_failure_comes_up_before_the_batches_that_are_ready():
    batches = prefetch(Faulty(3, ZeroDivisionError()), epoch=0, iterations=10, ahead=6)
    next(batches)
    time.sleep(0.3)
    with pytest.raises(CaseFailedError):
        next(batches)


def test_what_the_user_can_solve_stays_as_it_is():
    with pytest.raises(TrainingError, match=r"^copy it again$"):
        list(prefetch(Faulty(0, TrainingError("copy it again")), epoch=0, iterations=2))


@pytest.mark.parametrize("error", [MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory.")])
def test_a_batch_without_memory_is_made_again_alone_and_is_the_same(error, caplog):
    plain = [batch for batch, _ in prefetch(Discs(), epoch=1, iterations=4)]
    found = [batch for batch, _ in prefetch(Faulty(2, error, times=1), epoch=1, iterations=4)]
    assert all(torch.equal(one.image, other.image) for one, other in zip(plain, found, strict=True))
    assert "case ill7: augmenting a patch: out of memory" in caplog.text
    assert "the batch of epoch 1, step 2 is made once more, alone" in caplog.text


def test_a_batch_that_never_finds_memory_ends_the_training_with_the_ways_out():
    with pytest.raises(TrainingError, match=r"no memory to make the batch of epoch 0, step 1, .*batch_size"):
        list(prefetch(Faulty(1, MemoryError()), epoch=0, iterations=3))


def test_while_no_batch_comes_it_is_said_what_the_loader_is_at(caplog):
    with caplog.at_level(logging.WARNING):
        found = list(prefetch(Faulty(1, pause_s=0.7), epoch=4, iterations=3, patience_s=0.2))
    assert len(found) == 3
    messages = [record.getMessage() for record in caplog.records]
    assert 1 <= len(messages) <= 3
    assert messages[0].startswith(
        "no batch has come for 0 s (epoch 4, step 1). autoseg-patches_0 is at case ill7: augmenting"
    )
    assert "time.sleep(self.pause_s)" in messages[0]
    assert found[1][1] > 0.3


def test_no_warning_while_batches_come_in_time(caplog):
    list(prefetch(Discs(), epoch=0, iterations=5, patience_s=5))
    assert caplog.text == ""
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]
