"""Measured times, and how two programs that took turns compare."""

import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from pydantic import BaseModel

from autoseg.artefacts import FROZEN


class Times(BaseModel):
    """Seconds of single steps, and of each the seconds of waiting for data."""

    model_config = FROZEN
    seconds: tuple[float, ...]
    waited: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The median step."""
        return median(self.seconds)

    @property
    def quartiles_s(self) -> tuple[float, float]:
        """A quarter of the steps are faster than the first, a quarter slower than the second."""
        if len(self.seconds) < 2:
            return self.seconds[0], self.seconds[0]
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    @property
    def waiting_share(self) -> float:
        """Share of the time spent waiting for data, 0 to 1."""
        return sum(self.waited) / sum(self.seconds)


class Pair(BaseModel):
    """One run of autoseg and one of the peer, right after each other."""

    model_config = FROZEN
    ours: Times
    theirs: Times

    @property
    def ratio(self) -> float:
        """How many times as fast autoseg was."""
        return self.theirs.median_s / self.ours.median_s


def joined(runs: Sequence[Times]) -> Times:
    """All steps of several runs."""
    return Times(
        seconds=tuple(value for run in runs for value in run.seconds),
        waited=tuple(value for run in runs for value in run.waited),
    )


class Machine(BaseModel):
    """Where something was measured."""

    model_config = FROZEN
    processor: str
    threads: int
    device: str
    torch: str


def this_machine(*, device: str, threads: int) -> Machine:
    """The machine this runs on."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return Machine(processor=_processor(), threads=threads, device=name, torch=torch.__version__)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
