"""What a training changes when a time budget leaves room for few steps: batch, optimiser, learning rate, augmentation."""

import logging
import math
from collections.abc import Sequence

from autoseg.errors import number_of
from autoseg.planning.plan import Configuration, Decision, Plan, TrainingSettings

ENOUGH_STEPS = 10_000
"""From this many steps on nnU-Net's own settings are used: SGD with momentum 0.99 needs thousands to gather speed."""

WANTED_STEPS = 2_000
"""The batch shrinks until so many steps fit, but not below nnU-Net's least batch of 2."""

FEWEST_STEPS = 50
"""With fewer the networks of most data sets find nothing yet: the user is told."""

LEAST_BATCH = 2
DECISION = "short training"

logger = logging.getLogger(__name__)

OPTIMISATION: dict[str, str | float] = {
    "optimiser": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 1e-2,
    "warmup_share": 0.05,
}
AUGMENTATION: dict[str, str | float] = {"augmentation": "light"}
"""What suits few steps; how it was found stands in docs/decisions/0010-short-training.md."""


def fitted_to_budget(plan: Plan, configuration: str, *, step_s: float, budget_s: float, settings: Sequence[str]) -> Plan:
    """The `plan` with values of `configuration` and of training that suit `budget_s` seconds, and a Decision that says so.

    `step_s` is the measured duration of one step with the planned batch. Nothing is changed where ENOUGH_STEPS fit. Values
    that `settings` (KEY=VALUE) or the plan set otherwise than by default are kept, and with one of optimiser, learning
    rate or schedule the others.
    """
    steps = budget_s / step_s
    if steps >= ENOUGH_STEPS:
        return plan
    by_hand = {setting.partition("=")[0].strip() for setting in settings}
    planned = plan.configurations[configuration]
    batch = planned.batch_size if f"{configuration}.batch_size" in by_hand else _batch(planned, steps=steps)
    _warn_of_too_few(batch, step_s=step_s * batch / planned.batch_size, budget_s=budget_s)
    chosen: dict[str, str | float] = {}
    for group, kept_with in ((OPTIMISATION, (*OPTIMISATION, "schedule")), (AUGMENTATION, AUGMENTATION)):
        if not any(f"training.{key}" in by_hand or _is_changed(plan.training, key) for key in kept_with):
            chosen |= group
    decision = Decision(
        name=DECISION,
        value=", ".join([f"batch {batch}", *(f"{key} {value}" for key, value in chosen.items())]),
        because=f"{budget_s / 60:.3g} min have room for only {number_of(round(steps), 'step')} of {step_s:.3g} s "
        f"(batch {planned.batch_size}); the usual settings need {ENOUGH_STEPS} and more",
        source="measured on this machine; docs/decisions/0010-short-training.md",
    )
    return plan.model_copy(
        update={
            "configurations": plan.configurations | {configuration: planned.model_copy(update={"batch_size": batch})},
            "training": plan.training.model_copy(update=chosen),
            "decisions": (*plan.decisions, decision),
        }
    )


def _warn_of_too_few(batch: int, *, step_s: float, budget_s: float) -> None:
    """Say so where hardly any step fits; `step_s` is for the batch that will be trained with."""
    if budget_s >= FEWEST_STEPS * step_s:
        return
    logger.warning(
        "a time budget of %.3g min has room for about %s of %.3g s (batch %d): too few to learn from. Give at least "
        "%d min a fold, train fewer folds at a time, or plan smaller patches (autoseg_plan DATASET --gpu-memory GB).",
        budget_s / 60,
        number_of(max(1, int(budget_s / step_s)), "step"),
        step_s,
        batch,
        math.ceil(FEWEST_STEPS * step_s / 60),
    )


def _is_changed(training: TrainingSettings, key: str) -> bool:
    return bool(getattr(training, key) != TrainingSettings.model_fields[key].default)


def _batch(planned: Configuration, *, steps: float) -> int:
    """The largest batch, up to the planned one, of which WANTED_STEPS fit; at least LEAST_BATCH where that was planned."""
    fitting = int(planned.batch_size * steps / WANTED_STEPS)
    return min(planned.batch_size, max(LEAST_BATCH, fitting))
