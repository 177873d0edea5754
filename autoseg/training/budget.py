"""How far a training has come and when it ends: after so many steps, or after so much time.

Both are pure arithmetic on a Position; clocks are read by the loop.
"""

from dataclasses import dataclass, replace
from typing import Protocol

LONGEST_EPOCH_S = 600.0
SHORTEST_EPOCH_S = 10.0
EPOCHS_IN_A_BUDGET = 20
"""An epoch under a time budget lasts a twentieth of it, within the limits around here."""

VALIDATION_SHARE = 0.1
"""Share of a time budget's epoch that goes into validation, at most."""

STEPS_IN_AN_EPOCH = 10
"""Fewer are not worth a validation and a checkpoint, where steps are slow."""

NOT_WORTH_AN_EPOCH = 0.005
"""Share of a budget that is left unused at its end."""

FIRST_CLOSING_S = 1.0
"""What closing an epoch is taken to last before it is measured, but at most a tenth of the budget."""

FORGETTING = 0.9


@dataclass(frozen=True)
class Position:
    """Where a training stands, in steps and in seconds of training time (pauses between resumed runs do not count).

    `step_s`, `validation_step_s` and `closing_s` are moving averages of the measured durations of a step, a validation
    batch and an epoch's closing (checkpoint, history, curves), `whole_cases_s` the seconds that whole cases took last; None
    until measured.
    """

    epoch: int = 0
    iteration: int = 0
    elapsed_s: float = 0.0
    epoch_started_s: float = 0.0
    step_s: float | None = None
    validation_step_s: float | None = None
    closing_s: float | None = None
    whole_cases_s: float | None = None

    def after_step(self, *, now_s: float, duration_s: float) -> "Position":
        """One step later."""
        # The first step of a process also warms up the libraries, so the second measurement replaces it.
        step_s = duration_s if self.step_s is None or self.iteration <= 1 else _mean(self.step_s, duration_s)
        return replace(self, iteration=self.iteration + 1, elapsed_s=now_s, step_s=step_s)

    def after_validation(self, *, now_s: float, duration_s: float, iterations: int) -> "Position":
        """One validation later."""
        each = duration_s / max(iterations, 1)
        return replace(self, elapsed_s=now_s, validation_step_s=_mean(self.validation_step_s, each))

    def next_epoch(self) -> "Position":
        """The beginning of the next epoch."""
        return replace(self, epoch=self.epoch + 1, iteration=0, epoch_started_s=self.elapsed_s)

    def after_closing(self, *, now_s: float, duration_s: float) -> "Position":
        """The beginning of this epoch, once the last one has been written down."""
        closing_s = _mean(self.closing_s, duration_s)
        return replace(self, elapsed_s=now_s, epoch_started_s=now_s, closing_s=closing_s)


def _mean(average: float | None, value: float) -> float:
    return value if average is None else FORGETTING * average + (1 - FORGETTING) * value


class Pace(Protocol):
    """When a training steps on, validates and ends."""

    def progress(self, position: Position) -> float:
        """The share of the training that is done, 0 to 1: what learning-rate schedules go by."""
        ...

    def takes_another_step(self, position: Position) -> bool:
        """Whether this epoch has another step."""
        ...

    def validation_iterations(self, position: Position) -> int:
        """How many batches this epoch is validated on."""
        ...

    def is_finished(self, position: Position) -> bool:
        """Whether there is no further epoch."""
        ...

    def left_s(self, position: Position) -> float | None:
        """Seconds until the end, as far as measured; None before the first step."""
        ...


@dataclass(frozen=True)
class StepPace:
    """So many epochs of so many steps."""

    epochs: int
    iterations: int
    validation: int

    def progress(self, position: Position) -> float:
        """Steps done of all steps."""
        return min(1.0, (position.epoch + position.iteration / self.iterations) / self.epochs)

    def takes_another_step(self, position: Position) -> bool:
        """Until the epoch has its steps."""
        return position.iteration < self.iterations

    def validation_iterations(self, position: Position) -> int:
        """Always the same number."""
        return self.validation

    def is_finished(self, position: Position) -> bool:
        """After the last epoch."""
        return position.epoch >= self.epochs

    def left_s(self, position: Position) -> float | None:
        """The remaining steps and validations at the measured speed."""
        # The first step also warms up the libraries: going by it the end would seem far away.
        if position.step_s is None or (position.epoch == 0 and position.iteration < 2):
            return None
        epochs = self.epochs - position.epoch
        # Without a measurement a validation batch, which has no backward pass, costs about half a step.
        validation_step_s = position.validation_step_s or position.step_s / 2
        steps = epochs * self.iterations - position.iteration
        return max(
            0.0,
            steps * position.step_s + epochs * (self.validation * validation_step_s + (position.closing_s or 0.0)),
        )


@dataclass(frozen=True)
class TimePace:
    """Epochs that fill `budget_s` seconds, validation included; `validation` is the most batches an epoch validates on."""

    budget_s: float
    validation: int

    def progress(self, position: Position) -> float:
        """Seconds used of the budget."""
        return min(1.0, position.elapsed_s / self.budget_s)

    def takes_another_step(self, position: Position) -> bool:
        """While at least half of another step fits before validation has to begin; never fewer than one step."""
        if position.iteration == 0 or position.step_s is None:
            return True
        return position.elapsed_s + position.step_s / 2 <= self._validation_starts_s(position)

    def validation_iterations(self, position: Position) -> int:
        """As many batches as fit into a tenth of the epoch, at least one."""
        each = position.validation_step_s or (position.step_s or 0.0) / 2
        fitting = int(VALIDATION_SHARE * self._epoch_s(position) / each) if each else 1
        return max(1, min(self.validation, fitting))

    def is_finished(self, position: Position) -> bool:
        """When the shortest possible epoch would end further behind the budget than now is before it."""
        shortest_s = sum(
            seconds or 0.0 for seconds in (position.step_s, position.validation_step_s, self._closing_s(position))
        )
        left = self.budget_s - position.elapsed_s
        return position.epoch > 0 and left < max(shortest_s / 2, NOT_WORTH_AN_EPOCH * self.budget_s)

    def left_s(self, position: Position) -> float | None:
        """What is left of the budget."""
        return max(0.0, self.budget_s - position.elapsed_s)

    def _epoch_s(self, position: Position) -> float:
        """Seconds of this epoch: the time left at its start, shared evenly among the epochs left."""
        left = self.budget_s - position.epoch_started_s
        least = max(SHORTEST_EPOCH_S, STEPS_IN_AN_EPOCH * (position.step_s or 0.0))
        usual = max(min(self.budget_s / EPOCHS_IN_A_BUDGET, LONGEST_EPOCH_S), least)
        return left / max(1, round(left / usual))

    def _validation_starts_s(self, position: Position) -> float:
        each = position.validation_step_s or (position.step_s or 0.0) / 2
        validation_s = self.validation_iterations(position) * each
        return position.epoch_started_s + self._epoch_s(position) - validation_s - self._closing_s(position)

    def _closing_s(self, position: Position) -> float:
        return min(FIRST_CLOSING_S, 0.1 * self.budget_s) if position.closing_s is None else position.closing_s
