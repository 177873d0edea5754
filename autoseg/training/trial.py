"""A few steps made to be timed; what they learn is thrown away."""

from dataclasses import replace

from autoseg.training.allocator import kept_memory
from autoseg.training.budget import StepPace
from autoseg.training.fold import fresh_state, join, unsaved
from autoseg.training.loop import fit
from autoseg.training.model_folder import network_of
from autoseg.training.observers import UNWATCHED
from autoseg.training.setup import Surroundings
from autoseg.training.task import Task, setup_of
from autoseg.training.variants import Variant, fastest, usual, variant_called


def measure_step_s(task: Task, fold: str) -> float:
    """Seconds of a training step, measured on the second of two."""
    state = fresh_state(task, network_of(task.plan, task.configuration))
    join(state.network, task.ranks)
    around = Surroundings(
        save=unsaved, save_best=unsaved, interrupted=lambda: False, observer=UNWATCHED, clock=task.ranks.clock()
    )
    with kept_memory():
        fit(state, setup_of(replace(task, judge=None), fold, StepPace(epochs=1, iterations=2, validation=1)), around)
    assert state.position.step_s is not None, "two steps have been made"
    return state.position.step_s


def variant_to_start(task: Task) -> Variant:
    """What the plan says or, where it leaves that open, what usually is fastest. Raises UnknownNameError."""
    return variant_called(task.plan.training.variant) or usual(task.device, task.precision)


def choose_variant(task: Task, fold: str, *, step_s: float | None, is_repeatable: bool) -> Variant:
    """How the steps of a training are computed: as the plan says, or the fastest way where it leaves that open.

    `step_s` is the duration of a step under a time budget. Nothing is tried for a training that has to be repeatable or
    that several processes share: they must not come to different ends.
    """
    start = variant_to_start(task)
    if task.plan.training.variant != "auto" or is_repeatable or task.ranks.size > 1:
        return start
    settings = task.plan.training
    steps: float = settings.epochs * settings.iterations_per_epoch
    if task.budget_s is not None and step_s is not None:
        steps = task.budget_s / step_s
    return fastest(start, steps=steps, time_of=lambda variant: measure_step_s(replace(task, variant=variant), fold))
