"""Ways to compute the very same step: memory layout, fused optimiser, compilation. The fastest is found by trying."""

import logging
import math
import shutil
import sys
from collections.abc import Callable, Sequence

import torch
from pydantic import BaseModel
from torch import nn

from autoseg.artefacts import FROZEN
from autoseg.errors import unknown_name
from autoseg.networks.norms import LAYOUTS
from autoseg.training.device import Precision

MANY_STEPS = 2_000
"""From this many steps on it is worth a few of them to find the fastest way."""

COMPILED_PAYS_S = 4 * 3600.0
"""Compiling takes minutes on a processor; shorter trainings do not try it."""

CLEARLY = 0.95
"""What is no faster than this share of the time of what stands before it is noise, and not taken."""

logger = logging.getLogger(__name__)


class Variant(BaseModel):
    """How a step is computed; none of it changes what is computed but for rounding."""

    model_config = FROZEN
    channels_last: bool = False
    fused: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        return next(name for name, variant in VARIANTS.items() if variant == self)


VARIANTS: dict[str, Variant] = {
    "plain": Variant(),
    "channels_last": Variant(channels_last=True),
    "fused": Variant(fused=True),
    "channels_last_fused": Variant(channels_last=True, fused=True),
    "compiled": Variant(compiled=True),
    "compiled_fused": Variant(compiled=True, fused=True),
    "compiled_channels_last": Variant(compiled=True, channels_last=True),
    "compiled_channels_last_fused": Variant(compiled=True, channels_last=True, fused=True),
}

PLAIN = VARIANTS["plain"]

StepTime = Callable[[Variant], float]
"""Seconds of a step made in a variant."""


def variant_called(name: str) -> Variant | None:
    """The variant that `training.variant` names; None for "auto". Raises UnknownNameError for another name."""
    if name == "auto":
        return None
    if name not in VARIANTS:
        raise unknown_name("training.variant", name, ("auto", *VARIANTS))
    return VARIANTS[name]


def usual(device: torch.device, precision: Precision) -> Variant:
    """What is taken without trying.

    Processors with bf16 convolve channels-last a fifth faster (measured: docs/decisions/0031-speed.md); instance norm on
    GPUs returns to the other layout, so that it would cost there.
    """
    return VARIANTS["channels_last" if device.type == "cpu" and precision.name == "bf16" else "plain"]


def fastest(start: Variant, *, steps: float, time_of: StepTime) -> Variant:
    """The fastest of `start` and what differs from it in one or more points, each kept where it is clearly faster.

    `steps` is how many the training will have; where they are few, `start` is taken without a try. What cannot be computed
    on this machine is passed over.
    """
    if steps < MANY_STEPS:
        return start
    best, best_s = start, time_of(start)
    tried = [f"{best} {best_s:.3g} s"]
    for change in _changes(start, total_s=steps * best_s):
        candidate = best.model_copy(update=change)
        taken_s = _time_or_never(candidate, time_of)
        tried.append(f"{candidate} {taken_s:.3g} s" if math.isfinite(taken_s) else f"{candidate} not possible here")
        if taken_s < CLEARLY * best_s:
            best, best_s = candidate, taken_s
    logger.info("a step takes: %s; taken: %s", ", ".join(tried), best)
    return best


def _changes(start: Variant, *, total_s: float) -> Sequence[dict[str, bool]]:
    changes = [{"channels_last": not start.channels_last}, {"fused": True}]
    return [*changes, {"compiled": True}] if total_s >= COMPILED_PAYS_S and _can_compile() else changes


def _can_compile() -> bool:
    return sys.platform == "linux" and any(shutil.which(name) for name in ("c++", "g++", "clang++"))


def _time_or_never(candidate: Variant, time_of: StepTime) -> float:
    try:
        return time_of(candidate)
    # Compilers fail in ways of their own, and no candidate is needed.
    except Exception as error:
        logger.debug("%s: %s", candidate, error)
        return math.inf


def arranged(network: nn.Module, variant: Variant) -> nn.Module:
    """The `network`, changed in place to compute in the variant; names and values of its weights stay."""
    if variant.channels_last:
        for parameter in network.parameters():
            layout = LAYOUTS.get(parameter.dim())
            if layout is not None:
                parameter.data = parameter.data.contiguous(memory_format=layout)
    if variant.compiled:
        network.compile()
    return network
