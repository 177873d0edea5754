"""Folds trained at the same time, each by a process of its own on a device of its own."""

import logging
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from autoseg.errors import AutosegError, TrainingError
from autoseg.training.device import choose_precision
from autoseg.training.example import Example
from autoseg.training.fold import FoldResult, train_fold
from autoseg.training.history import EpochRow
from autoseg.training.interrupt import held_back
from autoseg.training.model_folder import fold_folder
from autoseg.training.observers import UNWATCHED, Observer, Several, Start, Step
from autoseg.training.task import Task

LOG_FILE = "training.log"
_LOOK_EVERY_S = 0.5


def _unwatched(_fold: str) -> Observer:
    return UNWATCHED


def _unlogged() -> Observer:
    return UNWATCHED


@dataclass(frozen=True)
class Beside:
    """How folds are trained at the same time.

    `devices` has an entry for each process ("cpu", "cuda:0"); none means every GPU of this machine. `shown` gives the
    observer of a fold in this process, `logged` the one that writes the fold's log, in its own process: a function that
    can be imported there.
    """

    devices: tuple[str, ...] = ()
    shown: Callable[[str], Observer] = _unwatched
    logged: Callable[[], Observer] = _unlogged

    def places(self, device: str, *, folds: int) -> tuple[str, ...]:
        """The devices for so many folds where the user names `device`; at most one where they run one after another."""
        found = self.devices
        if not found and device in ("auto", "cuda") and torch.cuda.is_available():
            found = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
        return found[:folds]


def rounds(folds: int, places: int) -> int:
    """How many folds one after another the busiest of so many places trains."""
    return -(-folds // max(places, 1))


@dataclass(frozen=True, eq=False)
class _Child:
    """A process at work on a fold."""

    fold: str
    device: str
    process: SpawnProcess


@dataclass
class _Progress:
    """What came of the folds."""

    trained: dict[str, FoldResult] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def train_side_by_side(task: Task, folds: Sequence[str], devices: Sequence[str], beside: Beside) -> list[FoldResult]:
    """Train folds at the same time, one on each of `devices`; what a process prints goes into the fold's training.log.

    One that fails does not stop the others: TrainingError names them at the end. When interrupted, all write their
    checkpoints, and then KeyboardInterrupt is raised.
    """
    waiting, free = deque(folds), deque(devices)
    running: dict[Connection, _Child] = {}
    done = _Progress()
    shown = {fold: beside.shown(fold) for fold in folds}
    with held_back() as interrupted:
        was_told = False
        while running or (waiting and not was_told):
            while waiting and free and not was_told:
                child, connection = _started(task, waiting.popleft(), free.popleft(), count=len(devices), beside=beside)
                running[connection] = child
            for connection in _ready(list(running)):
                child = running[connection]
                try:
                    _take_in(connection.recv(), child, shown[child.fold], done)
                except EOFError:
                    free.append(running.pop(connection).device)
                    _end(child, task, shown[child.fold], done)
            if interrupted() and not was_told:
                was_told = True
                for child in running.values():
                    _terminate(child)
    if was_told:
        raise KeyboardInterrupt("the checkpoints are written; the same command resumes from them")
    return _results(folds, done)


def _ready(connections: list[Connection]) -> Iterator[Connection]:
    for found in wait(connections, timeout=_LOOK_EVERY_S):
        assert isinstance(found, Connection), "only connections are waited for"
        yield found


def _started(task: Task, fold: str, device: str, *, count: int, beside: Beside) -> tuple[_Child, Connection]:
    where = torch.device(device)
    own = replace(task, device=where, precision=choose_precision(task.plan.training.precision, where), observer=UNWATCHED)
    log = fold_folder(task.model, fold) / LOG_FILE
    log.parent.mkdir(parents=True, exist_ok=True)
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    threads = max(1, torch.get_num_threads() // count)
    order = _Order(task=own, fold=fold, log=log, threads=threads, logged=beside.logged)
    process = context.Process(target=_train_apart, args=(order, there))
    process.start()
    there.close()  # this end belongs to the child: it ends when the child does
    return _Child(fold=fold, device=device, process=process), here


def _take_in(message: tuple[str, tuple[Any, ...]], child: _Child, observer: Observer, done: _Progress) -> None:
    kind, values = message
    if kind == "trained":
        done.trained[child.fold] = values[0]
    elif kind == "failed":
        done.failed[child.fold] = values[0]
    else:
        getattr(observer, kind)(*values)


def _end(child: _Child, task: Task, observer: Observer, done: _Progress) -> None:
    child.process.join()
    code = child.process.exitcode or 0
    if child.fold not in done.trained and child.fold not in done.failed:
        log = fold_folder(task.model, child.fold) / LOG_FILE
        reason = f"was ended by signal {-code}; for 9 the machine may have run out of memory" if code < 0 else "ended"
        done.failed[child.fold] = f"its process {reason}. Its log: {log}"
    if child.fold in done.failed:
        observer.warned(f"fold {child.fold} failed: {done.failed[child.fold]}")
    observer.ended()


def _terminate(child: _Child) -> None:
    if child.process.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(child.process.pid, signal.SIGTERM)


def _results(folds: Sequence[str], done: _Progress) -> list[FoldResult]:
    if done.failed:
        reasons = "\n".join(f"  fold {fold}: {reason}" for fold, reason in sorted(done.failed.items()))
        trained = ", ".join(fold for fold in folds if fold in done.trained) or "none"
        raise TrainingError(
            f"{len(done.failed)} of {len(folds)} folds failed (trained: {trained}); the same command goes on with "
            f"them:\n{reasons}"
        )
    return [done.trained[fold] for fold in folds]


class _Sender:
    """Tells the process that started this one what an observer is told; without it the training stops."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def started(self, start: Start) -> None:
        """Pass on."""
        self.send("started", start)

    def stepped(self, step: Step) -> None:
        """Pass on."""
        self.send("stepped", step)

    def pictured(self, example: Example) -> None:
        """Nothing: pictures are kept in the fold's folder, by its own process."""

    def epoch_ended(self, history: Sequence[EpochRow]) -> None:
        """Pass on the last row."""
        self.send("epoch_ended", list(history[-1:]))

    def warned(self, message: str) -> None:
        """Pass on."""
        self.send("warned", message)

    def ended(self) -> None:
        """Nothing: the other side notices the end by itself."""

    def send(self, kind: str, *values: Any) -> None:
        """Send one message."""
        try:
            self._connection.send((kind, values))
        except OSError:
            # Whoever started this process is gone: the checkpoint is written, as for any request to end.
            signal.raise_signal(signal.SIGTERM)


@dataclass(frozen=True)
class _Order:
    """What a process is started to do."""

    task: Task
    fold: str
    log: Path
    threads: int
    logged: Callable[[], Observer]


def _train_apart(order: _Order, connection: Connection) -> None:
    """Train a fold in this process, which was started for it."""
    _write_to(order.log)
    torch.set_num_threads(order.threads)
    sender = _Sender(connection)
    try:
        result = train_fold(replace(order.task, observer=Several(order.logged(), sender)), order.fold)
        sender.send("trained", result)
    except AutosegError as error:
        sys.stderr.write(f"error: {error}\n")
        sender.send("failed", str(error))
    except KeyboardInterrupt as interruption:
        sys.stderr.write(f"interrupted: {interruption}\n")
    except Exception as error:
        traceback.print_exc()
        sender.send("failed", f"{type(error).__name__}: {error}. This is a fault of autoseg; traceback in {order.log}")


def _write_to(log: Path) -> None:
    """Let everything that this process prints, libraries written in C included, go into a file."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("autoseg")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
