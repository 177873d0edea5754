"""A few steps made to be timed; what they learn is thrown away."""

import time
from dataclasses import replace

from autoseg.training.allocator import kept_memory
from autoseg.training.budget import StepPace
from autoseg.training.fold import fresh_state, join, unsaved
from autoseg.training.loop import fit
from autoseg.training.model_folder import network_of
from autoseg.training.observers import UNWATCHED, Observer, Step, Unwatched
from autoseg.training.self_test import SelfTest, Timing, fastest
from autoseg.training.setup import Surroundings
from autoseg.training.state import TrainingState
from autoseg.training.task import Task, setup_of
from autoseg.training.variants import Variant, usual, variant_called

STEPS_TO_TIME = 3
"""The first warms up, the faster of the others counts."""


class Stopwatch(Unwatched):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.ended_s: list[float] = []

    def stepped(self, step: Step) -> None:
        """Note the time."""
        self.ended_s.append(time.monotonic())

    @property
    def fastest_s(self) -> float:
        """Seconds of the fastest step, the first left out."""
        return min(later - sooner for sooner, later in zip(self.ended_s, self.ended_s[1:], strict=False))


def measure_step_s(task: Task, fold: str) -> float:
    """Seconds of a training step, measured on the second of two."""
    step_s = _tried(task, fold, steps=2, observer=UNWATCHED).position.step_s
    assert step_s is not None, "two steps have been made"
    return step_s


def timing_of(task: Task, fold: str) -> Timing:
    """How long the steps of a task take in its variant."""
    begun = time.monotonic()
    watch = Stopwatch()
    _tried(task, fold, steps=STEPS_TO_TIME, observer=watch)
    return Timing(step_s=watch.fastest_s, total_s=time.monotonic() - begun)


def _tried(task: Task, fold: str, *, steps: int, observer: Observer) -> TrainingState:
    """The state after so many steps and a validation batch of a training that is begun anew."""
    state = fresh_state(task, network_of(task.plan, task.configuration))
    join(state.network, task.ranks)
    around = Surroundings(
        save=unsaved, save_best=unsaved, interrupted=lambda: False, observer=observer, clock=task.ranks.clock()
    )
    with kept_memory():
        fit(state, setup_of(replace(task, judge=None), fold, StepPace(epochs=1, iterations=steps, validation=1)), around)
    return state


def variant_to_start(task: Task) -> Variant:
    """What the plan says or, where it leaves that open, what usually is fastest. Raises UnknownNameError."""
    return variant_called(task.plan.training.variant) or usual(task.device, task.precision)


def choose_variant(task: Task, fold: str, *, step_s: float | None, is_repeatable: bool) -> SelfTest:
    """How the steps of a training are computed: as the plan says, or the fastest way where it leaves that open.

    `step_s` is the duration of a step under a time budget. Nothing is tried for a training that has to be repeatable or
    that several processes share: they must not come to different ends.
    """
    start = variant_to_start(task)
    settings = task.plan.training
    if settings.variant != "auto":
        return SelfTest(taken=str(start), because="set by hand: training.variant")
    if is_repeatable:
        return SelfTest(taken=str(start), because="with a seed of its own a training must not hang on a stopwatch")
    if task.ranks.size > 1:
        return SelfTest(taken=str(start), because="several processes must not come to different ends")
    steps: float = settings.epochs * settings.iterations_per_epoch
    if task.budget_s is not None and step_s is not None:
        steps = task.budget_s / step_s
    return fastest(start, steps=steps, time_of=lambda variant: timing_of(replace(task, variant=variant), fold))
