"""What a whole command takes, from start to exit: seconds of the clock and of the processor, and memory."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.benchmark.apart import ROOT
from autoseg.benchmark.timing import Machine
from autoseg.errors import BenchmarkError

KIB = 1024
CONTROLLED = "OMP_NUM_THREADS"
"""The variable by which a program's number of threads is set; not set: the program's own choice."""


class Spent(BaseModel):
    """One run: seconds of the clock, of the processor (all processes that it started), and its largest process."""

    model_config = FROZEN
    seconds: float
    processor_s: float
    peak_bytes: int


class Side(BaseModel):
    """All runs of one program."""

    model_config = FROZEN
    name: str
    runs: tuple[Spent, ...]

    @property
    def seconds(self) -> float:
        """The median run on the clock."""
        return median(run.seconds for run in self.runs)

    @property
    def processor_s(self) -> float:
        """The median run's seconds of the processor."""
        return median(run.processor_s for run in self.runs)

    @property
    def peak_bytes(self) -> int:
        """The most memory that a process of any run took."""
        return max(run.peak_bytes for run in self.runs)


class Turns(BaseModel):
    """Two programs that took turns at the same work; `what` says at which, `agreement` how alike the results are.

    `agreement` is empty where there is no peer.
    """

    model_config = FROZEN
    what: str
    machine: Machine
    ours: Side
    theirs: Side | None = None
    agreement: dict[str, float] = {}

    @property
    def ratios(self) -> list[float]:
        """How many times as fast autoseg was by the clock, pair by pair."""
        pairs = zip(self.ours.runs, self.theirs.runs if self.theirs else (), strict=False)
        return [theirs.seconds / ours.seconds for ours, theirs in pairs]

    @property
    def processor_ratios(self) -> list[float]:
        """How many times less of the processor's time it took."""
        pairs = zip(self.ours.runs, self.theirs.runs if self.theirs else (), strict=False)
        return [theirs.processor_s / ours.processor_s for ours, theirs in pairs]


def spent_by(
    command: Sequence[str], *, name: str, folder: Path, environment: Mapping[str, str], request: str = ""
) -> tuple[Spent, str]:
    """What `command` takes from start to exit, and what it prints; `request` is its standard input.

    Works where processes report what they used (not on Windows). Raises BenchmarkError, which calls the program `name`,
    when it fails or cannot be run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile("w+") as taken, tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as asked:
        asked.write(request)
        asked.seek(0)
        begun = time.monotonic()
        try:
            running = subprocess.Popen(
                command, stdin=asked, stdout=said, stderr=taken, cwd=folder, env={**os.environ, **environment}
            )
        except OSError as error:
            raise BenchmarkError(
                f"{command[0]}: cannot be run ({error.strerror}). Name the interpreter of the peer's environment."
            ) from error
        _, status, usage = os.wait4(running.pid, 0)
        seconds = time.monotonic() - begun
        running.returncode = os.waitstatus_to_exitcode(status)
        for file in (said, taken):
            file.seek(0)
        printed, complaint = said.read(), taken.read()
    if running.returncode:
        last = complaint.strip().splitlines()[-1:] or ["no message"]
        raise BenchmarkError(f"{name} failed with exit code {running.returncode}: {last[0]}")
    used = usage.ru_utime + usage.ru_stime
    return Spent(seconds=seconds, processor_s=used, peak_bytes=usage.ru_maxrss * KIB), printed


def own_command(code: str, *arguments: str) -> list[str]:
    """A fresh interpreter that runs `code` with this very autoseg; see `own_environment`."""
    return [sys.executable, "-c", code, *arguments]


def own_environment(threads: int | None = None) -> dict[str, str]:
    """Environment variables of such an interpreter."""
    return {"PYTHONPATH": str(ROOT), **({} if threads is None else {CONTROLLED: str(threads)})}
