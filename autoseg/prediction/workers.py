"""Cases on several devices or machines: each worker opens the models once, and what a lost one had is done again."""

import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from autoseg.data.dataset import Case
from autoseg.errors import PredictionError, unknown_name
from autoseg.parallel import fresh_pool
from autoseg.prediction.beside import NOTHING, Beside
from autoseg.prediction.case_job import CaseJob, failed
from autoseg.prediction.ensemble import open_ensemble
from autoseg.prediction.postprocessing import Rule
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.report import CasePrediction
from autoseg.prediction.settings import Settings
from autoseg.resources import available_cores
from autoseg.training.model_folder import Which

MOST_LOSSES = 3
"""A case whose worker is lost so many times is reported as failed: it is likely to be the reason."""

DASK = "dask://"
PATIENCE_S = 10
"""How long a scheduler may take to answer."""


@dataclass(frozen=True)
class Order:
    """Everything a worker must know to predict a case; it travels, so it holds names and numbers only."""

    models: tuple[Path, ...]
    folds: tuple[str, ...]
    most_folds: int | None
    which: Which
    settings: Settings
    output: Path
    beside: Beside = NOTHING
    weights: tuple[float, ...] | None = None
    rules: tuple[Rule, ...] = ()
    threads: int | None = None


def predict_one(order: Order, case: Case) -> CasePrediction:
    """What a worker does with a case. The models stay in its memory from the first case on."""
    with _Opened.lock:  # a Dask worker may call from several threads; the network uses all cores by itself
        return _job(order).predict(case)


class _Opened:
    lock = threading.Lock()


@lru_cache(maxsize=1)
def _job(order: Order) -> CaseJob:
    if order.threads is not None:
        import torch

        torch.set_num_threads(order.threads)
    ensemble = open_ensemble(
        order.models, folds=order.folds, which=order.which, most_folds=order.most_folds, weights=order.weights
    )
    predictor = Predictor(ensemble.members, settings=order.settings, weights=ensemble.shares)
    return CaseJob(predictor, order.output, order.beside, order.rules)


def predict_on(executor: str, order: Order, cases: Sequence[Case], *, devices: Sequence[str]) -> Iterator[CasePrediction]:
    """The cases as they finish: on "processes" of this machine, one for each of `devices`, or on "dask://HOST:PORT".

    Raises UnknownNameError for another executor and PredictionError where a scheduler cannot be reached.
    """
    if executor == "processes":
        return on_devices(order, cases, devices=devices or default_devices())
    if executor.startswith(DASK):
        return _on_dask(_connected(executor), order, cases)
    raise unknown_name("executor", executor, ("processes", f"{DASK}HOST:PORT"))


def default_devices() -> list[str]:
    """Every GPU there is, else the CPU."""
    import torch

    return [str(index) for index in range(torch.cuda.device_count())] or ["cpu"]


def device_name(text: str) -> str:
    """The torch name of a device that may be given as its number: "1" is "cuda:1"."""
    return f"cuda:{text}" if text.isdigit() else text


def on_devices(order: Order, cases: Sequence[Case], *, devices: Sequence[str]) -> Iterator[CasePrediction]:
    """The cases as they finish, each in the worker that is free next. A device may be named more than once."""
    on_cpu = sum(device == "cpu" for device in devices)
    waiting = list(reversed(cases))
    lanes = []
    for device in devices[: len(cases)]:
        settings = replace(order.settings, device=device_name(device))
        share = max(1, available_cores() // on_cpu) if device == "cpu" else None
        lanes.append(_Lane(replace(order, settings=settings, threads=order.threads or share), waiting))
    with ExitStack() as stack:
        for lane in lanes:
            stack.callback(lane.end)
        threads = stack.enter_context(ThreadPoolExecutor(max(1, len(lanes)), "device"))
        stack.callback(waiting.clear)
        running = {threads.submit(lane.next_case): lane for lane in lanes}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                lane, found = running.pop(future), future.result()
                if found is not None:
                    running[threads.submit(lane.next_case)] = lane
                    yield found


class _Lane:
    """A worker process of its own, started again when it is lost, and the cases that all lanes take from."""

    def __init__(self, order: Order, waiting: list[Case]) -> None:
        self._order = order
        self._waiting = waiting
        self._pool: ProcessPoolExecutor | None = None

    def next_case(self) -> CasePrediction | None:
        """The result of the next case; None when there is none left."""
        try:
            case = self._waiting.pop()
        except IndexError:
            return None
        return self._predicted(case)

    def _predicted(self, case: Case) -> CasePrediction:
        for _ in range(MOST_LOSSES):
            if self._pool is None:
                self._pool = fresh_pool(1)
            try:
                return self._pool.submit(predict_one, self._order, case).result()
            except BrokenProcessPool:
                self.end()
        lost = PredictionError(
            f"case {case.id}: the process working on it was killed {MOST_LOSSES} times (often: out of memory). Predict it "
            "alone with less --memory, or on a machine with more."
        )
        return failed(case, lost)

    def end(self) -> None:
        """Let the process go."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _connected(address: str) -> Any:
    """A client of the scheduler at `address`."""
    distributed, place = _distributed(), address.removeprefix(DASK)
    scheduler = f"tcp://{place}"
    host, _, port = place.rpartition(":")
    if not (host and port.isdigit()):
        raise PredictionError(f"--executor {address}: expected {DASK}HOST:PORT, such as {DASK}localhost:8786.")
    try:
        # A client that finds nobody cannot be taken down again without a traceback, so it is asked for afterwards.
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
        return distributed.Client(scheduler, timeout=PATIENCE_S, set_as_default=False)
    except (OSError, OverflowError, ValueError) as error:
        raise PredictionError(
            f"--executor {address}: no Dask scheduler answers at {scheduler} ({error}). Start one with: dask scheduler"
        ) from error


def _on_dask(client: Any, order: Order, cases: Sequence[Case]) -> Iterator[CasePrediction]:
    distributed = _distributed()
    with client:
        # The scheduler gives the cases of a lost worker to another one, and gives up after a few losses.
        futures = {client.submit(predict_one, order, case, pure=False): case for case in cases}
        for future in distributed.as_completed(futures, loop=client.loop):
            yield _answer(future, futures[future], distributed.scheduler.KilledWorker)


def _answer(future: Any, case: Case, killed: type[Exception]) -> CasePrediction:
    try:
        found: CasePrediction = future.result()
    except killed as error:
        return failed(case, PredictionError(f"case {case.id}: {error}"))
    return found


def _distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError as error:
        raise PredictionError("--executor dask:// needs Dask. Install it with: pip install 'autoseg[cluster]'") from error
