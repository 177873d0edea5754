"""Seconds of a training step: autoseg's alone, or in turn with nnU-Net's on the same plan, network and batch.

Run as a program it measures autoseg, see autoseg/benchmark/apart.py.
"""

import sys
import time
from collections.abc import Generator
from dataclasses import replace

from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.benchmark.apart import answered, requested
from autoseg.benchmark.nnunet import NnUnet
from autoseg.benchmark.setting import Setting, prepared
from autoseg.benchmark.timing import Machine, Pair, Times, joined, this_machine
from autoseg.progress import SILENT, Progress
from autoseg.training.allocator import kept_memory
from autoseg.training.budget import StepPace
from autoseg.training.fold import fresh_state, unsaved
from autoseg.training.loop import fit
from autoseg.training.model_folder import network_of
from autoseg.training.observers import Step, Unwatched
from autoseg.training.patches import Batch, BatchSource
from autoseg.training.setup import Surroundings
from autoseg.training.task import setup_of

WARMUP = 2
LOADERS = (0, 1, 2)
"""Numbers of loader processes that the peer is tried with."""


class StepBenchmark(BaseModel):
    """What a training step takes; `pairs` is empty and the peer's fields None where autoseg ran alone.

    `loaders` is the number of loader processes that the peer is fastest with, `loader_trials` its median step with each.
    """

    model_config = FROZEN
    dataset: str
    configuration: str
    patch_size: tuple[int, ...]
    batch_size: int
    precision: str
    variant: str
    machine: Machine
    ours: Times
    theirs: Times | None = None
    peer: str | None = None
    loaders: int | None = None
    loader_trials: dict[str, float] = {}
    pairs: tuple[Pair, ...] = ()


def measure_steps(
    setting: Setting, *, peer: NnUnet | None, pairs: int, steps: int, progress: Progress = SILENT
) -> StepBenchmark:
    """Steps of autoseg, `pairs` times in turn with the peer where there is one, each run in a fresh process."""
    prepared(setting, progress=progress)
    task = setting.task()
    found = StepBenchmark(
        dataset=setting.plan.dataset,
        configuration=setting.configuration.name,
        patch_size=setting.configuration.patch_size,
        batch_size=setting.configuration.batch_size,
        precision=task.precision.name,
        variant=str(task.variant),
        machine=this_machine(device=str(setting.device), threads=setting.threads),
        ours=Times(seconds=(), waited=()),
    )
    if peer is None:
        return found.model_copy(update={"ours": own_steps(setting, steps=steps)})
    version = peer.version()
    peer.prepare()
    trials = {
        loaders: _of_peer(peer, loaders=loaders, steps=steps)
        for loaders in progress.track(LOADERS, description="loader processes of the peer", total=len(LOADERS))
    }
    best = min(trials, key=lambda loaders: trials[loaders].median_s)
    taken = [
        Pair(ours=own_steps(setting, steps=steps), theirs=_of_peer(peer, loaders=best, steps=steps))
        for _ in progress.track(range(pairs), description="pairs", total=pairs)
    ]
    return found.model_copy(
        update={
            "ours": joined([pair.ours for pair in taken]),
            "theirs": joined([pair.theirs for pair in taken]),
            "peer": version,
            "loaders": best,
            "loader_trials": {str(loaders): times.median_s for loaders, times in trials.items()},
            "pairs": tuple(taken),
        }
    )


def _of_peer(peer: NnUnet, *, loaders: int, steps: int) -> Times:
    answer = peer.steps(loaders=loaders, steps=steps, warmup=WARMUP)
    return Times(seconds=tuple(answer["seconds"]), waited=tuple(answer["waited"]))


def own_steps(setting: Setting, *, steps: int) -> Times:
    """Steps of autoseg in a fresh process. Raises BenchmarkError when it fails."""
    return Times.model_validate_json(answered("autoseg.benchmark.step", setting, steps=steps))


def timed_steps(setting: Setting, *, steps: int) -> Times:
    """Steps of autoseg in this process, the first ones left out."""
    task = setting.task()
    state = fresh_state(task, network_of(task.plan, task.configuration))
    setup = setup_of(task, setting.fold, StepPace(epochs=1, iterations=WARMUP + steps, validation=1))
    waited: list[float] = []

    def noted(source: BatchSource, *, epoch: int, iterations: int) -> Generator[tuple[Batch, float], None, None]:
        for batch, seconds in setup.stream(source, epoch=epoch, iterations=iterations):
            waited.append(seconds)
            yield batch, seconds

    clock = _Clock()
    around = Surroundings(save=unsaved, save_best=unsaved, interrupted=lambda: False, observer=clock)
    with kept_memory():
        fit(state, replace(setup, stream=noted), around)
    seconds = [after - before for before, after in zip(clock.moments, clock.moments[1:], strict=False)]
    return Times(seconds=tuple(seconds[WARMUP:]), waited=tuple(waited[WARMUP : WARMUP + steps]))


class _Clock(Unwatched):
    """Notes when each step has ended."""

    def __init__(self) -> None:
        self.moments = [time.monotonic()]

    def stepped(self, step: Step) -> None:
        """Look at the clock."""
        self.moments.append(time.monotonic())


def main() -> None:
    """Measure what the request on standard input asks for and print the times."""
    setting, request = requested()
    sys.stdout.write("\n" + timed_steps(setting, steps=request["steps"]).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
