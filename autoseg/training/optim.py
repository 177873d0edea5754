"""Optimisers and learning-rate schedules: tables of functions."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from autoseg.extend import resolve
from autoseg.planning.plan import TrainingSettings
from autoseg.training.plateau import decayed_to, falls

POLY_POWER = 0.9


@dataclass(frozen=True)
class Moment:
    """A point of a training, as schedules see it.

    `progress` is the share that is done, 0 to 1, warm-up left out; `losses` are the validation losses of the epochs so far,
    None where there was none.
    """

    progress: float
    settings: TrainingSettings
    losses: Sequence[float | None] = ()


OptimiserBuilder = Callable[[Iterable[nn.Parameter], TrainingSettings], torch.optim.Optimizer]
Schedule = Callable[[Moment], float]
"""The share of the full learning rate, 0 to 1, at a moment of the training."""


def _sgd(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov and settings.momentum > 0,
        weight_decay=settings.weight_decay,
    )


def _adam(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _adamw(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)


OPTIMISERS: dict[str, OptimiserBuilder] = {"sgd": _sgd, "adam": _adam, "adamw": _adamw}


def poly(moment: Moment) -> float:
    """(1 - progress)^0.9. Source: nnU-Net, which evaluates it once an epoch; here it falls at every step."""
    return float((1 - moment.progress) ** POLY_POWER)


def cosine(moment: Moment) -> float:
    """Half a cosine from 1 to 0. Source: Loshchilov and Hutter, ICLR 2017."""
    return 0.5 * (1 + math.cos(math.pi * moment.progress))


def plateau(moment: Moment) -> float:
    """Multiplied by `plateau_factor` whenever the validation loss rests, down to `plateau_floor`."""
    settings = moment.settings
    share = settings.plateau_factor ** falls(moment.losses, patience=settings.plateau_patience)
    return min(1.0, max(share, settings.plateau_floor / settings.learning_rate))


def constant(moment: Moment) -> float:
    """Always 1."""
    return 1.0


def decay_then_stop(moment: Moment) -> float:
    """1 until the validation loss has rested for `plateau_patience` epochs, then along a line to 0, and the end.

    The line takes `stop_patience` epochs, as many as the patience where there is none.
    """
    return decayed_to(moment.settings, moment.losses)


SCHEDULES: dict[str, Schedule] = {
    "poly": poly,
    "cosine": cosine,
    "plateau": plateau,
    "constant": constant,
    "decay_then_stop": decay_then_stop,
}


def build_optimiser(
    parameters: Iterable[nn.Parameter], settings: TrainingSettings, *, fused: bool = False
) -> torch.optim.Optimizer:
    """The optimiser that `settings` name, over those parameters that are to be trained; `fused` in one kernel a step."""
    build: OptimiserBuilder = resolve("optimiser", settings.optimiser, OPTIMISERS)
    optimiser = build([parameter for parameter in parameters if parameter.requires_grad], settings)
    if fused and "fused" in optimiser.defaults:
        for group in optimiser.param_groups:
            group.update(fused=True, foreach=False)
    return optimiser


def learning_rate(settings: TrainingSettings, progress: float, losses: Sequence[float | None] = ()) -> float:
    """The learning rate after a share `progress` (0 to 1) of the training, with these validation losses so far.

    Over the first `warmup_share` it rises linearly to `learning_rate`, over the rest it follows the schedule.
    """
    schedule: Schedule = resolve("schedule", settings.schedule, SCHEDULES)
    progress = min(max(progress, 0.0), 1.0)
    warmup = settings.warmup_share
    if progress < warmup:
        # Never quite zero: a first step of length zero would waste a batch.
        return settings.learning_rate * max(progress / warmup, 0.01)
    return settings.learning_rate * schedule(Moment((progress - warmup) / (1 - warmup), settings, losses))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters the learning rate `rate`."""
    for group in optimiser.param_groups:
        group["lr"] = rate
