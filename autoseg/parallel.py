"""Work on many cases at once: in processes of this machine, or on any `concurrent.futures` executor."""

import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, Generic, TypeVar

from autoseg.errors import AutosegError
from autoseg.progress import SILENT, Progress
from autoseg.resources import available_cores

T = TypeVar("T")
R = TypeVar("R")


class WorkerKilledError(AutosegError):
    """The operating system killed the process that worked on a case."""


class CaseFailedError(RuntimeError):
    """Work on a case failed through a fault of autoseg; the message holds the worker's traceback."""


def map_cases(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    name: Callable[[T], str],
    stage: str,
    workers: int | None = None,
    progress: Progress = SILENT,
    executor: Executor | None = None,
) -> list[R]:
    """The results of `function` for all items, in their order.

    Runs in `workers` fresh processes (by default one per core), in this process for one worker or one item, or on
    `executor`; `function` and items must then be picklable. `stage` and `name` of an item stand in messages. An
    AutosegError is raised as it is, anything else as CaseFailedError with the worker's traceback. When a worker is
    killed, the cases under way are tried once more, alone; WorkerKilledError names the one that is killed again.
    """
    if not items:
        return []
    count = min(available_cores() if workers is None else workers, len(items))
    task = _Task(function=function, name=name, stage=stage)
    if executor is not None:
        numbered = task.on(executor, items)
    elif count <= 1:
        numbered = ((index, task.opened(_attempt(function, item), item)) for index, item in enumerate(items))
    else:
        numbered = task.in_processes(items, workers=count)
    found = dict(progress.track(numbered, description=stage, total=len(items)))
    return [found[index] for index in range(len(items))]


@dataclass(frozen=True)
class _Outcome:
    """What came of one case, in a form that always survives the way back from a worker."""

    result: Any = None
    refusal: AutosegError | None = None
    failure: str | None = None


def _attempt(function: Callable[[T], R], item: T) -> _Outcome:
    try:
        return _Outcome(result=function(item))
    except AutosegError as error:
        return _Outcome(refusal=error)
    except Exception:
        return _Outcome(failure=traceback.format_exc())


@dataclass(frozen=True)
class _Task(Generic[T, R]):
    """A function for cases, and how its messages name them."""

    function: Callable[[T], R]
    name: Callable[[T], str]
    stage: str

    def opened(self, outcome: _Outcome, item: T) -> R:
        """The result inside `outcome`; raises what went wrong instead."""
        if outcome.refusal is not None:
            raise outcome.refusal
        if outcome.failure is not None:
            raise CaseFailedError(f"{self.stage}: case {self.name(item)} failed:\n{outcome.failure}")
        result: R = outcome.result
        return result

    def on(self, executor: Executor, items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Numbered results from an executor that was passed in, as they come."""
        futures = {executor.submit(_attempt, self.function, item): index for index, item in enumerate(items)}
        try:
            for future in as_completed(futures):
                index = futures[future]
                yield index, self.opened(future.result(), items[index])
        finally:
            for future in futures:
                future.cancel()

    def in_processes(self, items: Sequence[T], *, workers: int) -> Iterator[tuple[int, R]]:
        """Numbered results from processes of this machine, as they come."""
        waiting = deque(range(len(items)))
        while waiting:
            under_way: dict[Future[_Outcome], int] = {}
            with fresh_pool(workers) as pool:
                try:
                    while waiting or under_way:
                        # No more cases than workers at a time, so that it is known which ones a killed worker had.
                        while waiting and len(under_way) < workers:
                            under_way[pool.submit(_attempt, self.function, items[waiting[0]])] = waiting[0]
                            waiting.popleft()
                        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                        for future in done:
                            index, outcome = under_way[future], future.result()
                            del under_way[future]
                            yield index, self.opened(outcome, items[index])
                except BrokenProcessPool:
                    pass
            for index in under_way.values():
                yield index, self._alone(items[index])

    def _alone(self, item: T) -> R:
        with fresh_pool(1) as pool:
            try:
                outcome = pool.submit(_attempt, self.function, item).result()
            except BrokenProcessPool as error:
                raise WorkerKilledError(
                    f"{self.stage}: the process working on case {self.name(item)} was killed twice, the second time while "
                    "it ran alone (often: out of memory). Free memory, use a machine with more, or remove the case."
                ) from error
        return self.opened(outcome, item)


def fresh_pool(workers: int) -> ProcessPoolExecutor:
    """So many new processes that import what they need, with one thread for numerical libraries each."""
    return ProcessPoolExecutor(max_workers=workers, mp_context=_FreshContext(), initializer=_use_one_thread)


class _FreshProcess(SpawnProcess):
    """A process that does not run the caller's script again, as it would one without `if __name__ == "__main__"`."""

    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802 (the name multiprocessing gave it)
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return SpawnProcess._Popen(process)
        finally:
            sys.modules["__main__"] = main


class _FreshContext(SpawnContext):
    """Spawned, not forked: a fork of a process with threads (torch, SimpleITK) can hang."""

    Process = _FreshProcess


def _use_one_thread() -> None:
    """Keep numerical libraries from starting a thread per core in every worker."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
