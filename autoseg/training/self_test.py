"""Which way to compute a step is the fastest on this machine: found by a few steps in each, where that is worth them."""

import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.training.variants import Variant

SELF_TEST_FILE = "self_test.json"

MANY_STEPS = 1_000
"""From this many steps on it is worth a dozen of them to find the fastest way."""

COMPILING_PAYS_S = 3600.0
"""Compiling takes a minute or more; in shorter trainings it could not be earned back, and trying it would cost as much."""

CLEARLY = 0.95
"""What is no faster than this share of the time of what stands before it is noise, and not taken."""

COMPILERS = ("c++", "g++", "clang++")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """Seconds of a step, and of the whole trial from building the network on."""

    step_s: float
    total_s: float


class Tried(BaseModel):
    """A way to compute a step: seconds of one and of getting ready for the first (compiling), or why it was left out."""

    model_config = FROZEN
    variant: str
    step_s: float | None = None
    ready_s: float | None = None
    left_out: str | None = None

    def __str__(self) -> str:
        if self.step_s is None:
            return f"{self.variant} left out ({self.left_out})"
        ready = f" and {self.ready_s:.0f} s to get ready" if self.ready_s is not None and self.ready_s >= 1 else ""
        return f"{self.variant} {self.step_s:.3g} s{ready}"


class SelfTest(BaseModel):
    """Which variant the steps of a training are computed in, why, and what was tried before it began."""

    model_config = FROZEN
    taken: str
    because: str
    tried: tuple[Tried, ...] = ()


def fastest(start: Variant, *, steps: float, time_of: Callable[[Variant], Timing]) -> SelfTest:
    """The fastest of `start` and what differs from it in one or more points, each kept where it is clearly faster.

    `steps` is how many the training will have: where they are few, `start` is taken without a try, and what getting ready
    costs is shared out among them. What cannot be computed on this machine is left out, with the reason.
    """
    if steps < MANY_STEPS:
        because = f"too few steps ({steps:.0f}) to spend any on trying others; {start} is usually the fastest here"
        return SelfTest(taken=str(start), because=because)
    first = time_of(start)
    tried = [Tried(variant=str(start), step_s=first.step_s, ready_s=0.0)]
    best, best_s = start, first.step_s
    for change in ({"channels_last": not start.channels_last}, {"fused": True}, {"compiled": True}):
        candidate = best.model_copy(update=change)
        reason = _why_not(candidate, total_s=steps * best_s)
        found = Tried(variant=str(candidate), left_out=reason) if reason else _try(candidate, time_of, than=first)
        tried.append(found)
        if found.step_s is not None and found.ready_s is not None:
            step_s = found.step_s + found.ready_s / steps
            if step_s < CLEARLY * best_s:
                best, best_s = candidate, step_s
    logger.info("a step takes: %s; taken: %s", ", ".join(map(str, tried)), best)
    because = "nothing that was tried is clearly faster" if best == start else "the fastest of what was tried"
    return SelfTest(taken=str(best), because=f"{because}, over {steps:.0f} steps", tried=tuple(tried))


def _why_not(candidate: Variant, *, total_s: float) -> str | None:
    """Why a variant is not even tried; None where it is. `total_s` is how long the training takes without it."""
    if not candidate.compiled:
        return None
    if sys.platform != "linux":
        return f"torch compiles on Linux only, this is {sys.platform}"
    if not any(shutil.which(name) for name in COMPILERS):
        return f"no C++ compiler found ({', '.join(COMPILERS)})"
    if total_s < COMPILING_PAYS_S:
        return f"compiling pays in trainings of {COMPILING_PAYS_S / 60:.0f} min and more, this one has {total_s / 60:.3g}"
    return None


def _try(candidate: Variant, time_of: Callable[[Variant], Timing], *, than: Timing) -> Tried:
    try:
        found = time_of(candidate)
    # Compilers fail in ways of their own, and no candidate is needed.
    except Exception as error:
        logger.debug("%s cannot be computed here", candidate, exc_info=True)
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return Tried(variant=str(candidate), left_out=f"not possible here: {reason}")
    return Tried(variant=str(candidate), step_s=found.step_s, ready_s=max(0.0, found.total_s - than.total_s))
