"""Batches made by threads ahead of their use; one that fails is reported at once, one that hangs by name."""

import logging
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import torch

from autoseg.errors import TrainingError
from autoseg.training.patches import Batch, BatchSource
from autoseg.training.thrift import is_out_of_memory
from autoseg.training.under_way import report

THREADS = "autoseg-patches"
PATIENCE_S = 30.0

logger = logging.getLogger(__name__)


def prefetch(
    source: BatchSource,
    *,
    epoch: int,
    iterations: int,
    ahead: int = 3,
    workers: int = 1,
    patience_s: float = PATIENCE_S,
) -> Iterator[tuple[Batch, float]]:
    """The batches 0 to `iterations` - 1 of an epoch, each with the seconds that were spent waiting for it.

    `workers` threads make them, at most `ahead` of what has been asked for. What a thread raises is raised here, before
    batches that are ready; one for which memory did not suffice is made once more, alone. While no batch comes for
    `patience_s`, a warning says what each thread is at. Threads end with the iterator, also when it is closed early.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix=THREADS)
    pending: deque[Future[Batch]] = deque()
    try:
        for iteration in range(iterations + ahead):
            if iteration < iterations:
                pending.append(pool.submit(source.batch, epoch, iteration))
            if iteration >= ahead:
                start = time.perf_counter()
                _raise_failures(pending)
                batch = _made(pending, source, epoch=epoch, iteration=iteration - ahead, patience_s=patience_s)
                yield batch, time.perf_counter() - start
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _raise_failures(pending: deque[Future[Batch]]) -> None:
    """Raise what has gone wrong with any batch: with slow steps it would else come up minutes later."""
    for future in pending:
        error = future.exception() if future.done() else None
        if error is not None and not is_out_of_memory(error):
            raise error


def _made(pending: deque[Future[Batch]], source: BatchSource, *, epoch: int, iteration: int, patience_s: float) -> Batch:
    """The next batch, waited for as long as it takes."""
    future = pending.popleft()
    waited = 0.0
    while not wait([future], timeout=patience_s).done:
        waited += patience_s
        logger.warning("no batch has come for %.0f s (epoch %d, step %d). %s", waited, epoch, iteration, report(THREADS))
    try:
        return future.result()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    wait(pending)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return _alone(source, epoch=epoch, iteration=iteration)


def _alone(source: BatchSource, *, epoch: int, iteration: int) -> Batch:
    logger.warning("the batch of epoch %d, step %d is made once more, alone", epoch, iteration)
    try:
        return source.batch(epoch, iteration)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"no memory to make the batch of epoch {epoch}, step {iteration}, not even with nothing beside it ({error}). "
            "Free memory, or train with smaller batches: --set CONFIGURATION.batch_size=2"
        ) from error
