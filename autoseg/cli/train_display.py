"""How a training is shown: one live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autoseg.errors import number_of

if TYPE_CHECKING:
    from autoseg.training.example import Example
    from autoseg.training.history import EpochRow
    from autoseg.training.observers import Observer, Start, Step

EVERY_S = 30.0
"""Seconds between plain lines within an epoch."""


def display(quiet: bool) -> "Observer":
    """What shows a training: a live line on a terminal, lines elsewhere, nothing when `quiet`."""
    from autoseg.training.observers import UNWATCHED

    if quiet:
        return UNWATCHED
    return TrainingDisplay(live=sys.stderr.isatty())


class TrainingDisplay:
    """Shows steps, epochs and warnings on standard error."""

    def __init__(self, *, live: bool) -> None:
        self._live_line: Any = None
        self._wants_live = live
        self._last: EpochRow | None = None
        self._names: tuple[str, ...] = ()
        self._said_s = 0.0

    def started(self, start: "Start") -> None:
        """A line about the fold; on a terminal the live line begins."""
        from autoseg.data.splits import ALL

        self._names, self._last, self._said_s = start.output_names, None, time.monotonic()
        length = number_of(start.epochs or 0, "epoch") if start.budget_s is None else _clock(start.budget_s)
        at = f"epoch {start.first_epoch}, step {start.first_step}"
        resumed = f"; resumed at {at}" if start.first_epoch or start.first_step else ""
        # Fold "all" has no cases left that the network has not seen.
        judged = (
            " and to judge it on, so that scores flatter"
            if start.fold == ALL
            else f", {start.validation_cases} to validate on"
        )
        self._say(
            f"{start.configuration}, fold {start.fold}: {number_of(start.training_cases, 'case')} to train on"
            f"{judged}; {start.parameters / 1e6:.1f} million parameters, {start.precision} "
            f"on {start.device}; {length}{resumed}"
        )
        if self._wants_live:
            from rich.console import Console
            from rich.live import Live

            self._live_line = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
            self._live_line.start()

    def stepped(self, step: "Step") -> None:
        """The live line anew, or a plain line every half minute."""
        if self._live_line is not None:
            self._live_line.update(step_line(step, self._last, self._names))
        elif time.monotonic() - self._said_s >= EVERY_S:
            self._said_s = time.monotonic()
            self._say(step_line(step, self._last, self._names))

    def pictured(self, example: "Example") -> None:
        """Nothing: pictures are for TensorBoard."""

    def epoch_ended(self, history: Sequence["EpochRow"]) -> None:
        """A line that stays."""
        self._last, self._said_s = history[-1], time.monotonic()
        self._say(epoch_line(history[-1], self._names))

    def warned(self, message: str) -> None:
        """A line that stays."""
        self._say(f"warning: {message}")

    def ended(self) -> None:
        """The live line goes."""
        if self._live_line is not None:
            self._live_line.stop()
            self._live_line = None

    def _say(self, line: str) -> None:
        if self._live_line is not None:
            self._live_line.console.print(line, markup=False, highlight=False)
        else:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def step_line(step: "Step", last: "EpochRow | None", names: Sequence[str] = ()) -> str:
    """Where a training stands, on one line."""
    epoch = f"epoch {step.epoch}" + (f"/{step.epochs}" if step.epochs else "")
    iteration = f"step {step.iteration}" + (f"/{step.iterations}" if step.iterations else "")
    parts = [
        f"{step.progress:4.0%}",
        f"{epoch} {iteration}",
        f"loss {_number(step.loss)}",
        f"pseudo-Dice {_number(last.ema_pseudo_dice if last else None)}{_each(last, names)}",
        f"lr {step.learning_rate:.2g}",
        f"{step.step_s:.2f} s/step",
        f"waiting {step.waiting_share:.0%}",
        *([] if step.memory_bytes is None else [f"{step.memory_bytes / 2**30:.1f} GiB"]),
        f"left {'?' if step.left_s is None else _clock(step.left_s)}",
    ]
    return " | ".join(parts)


def _each(last: "EpochRow | None", names: Sequence[str]) -> str:
    """The last pseudo-Dice of each output; one alone says what the mean does."""
    if last is None or len(names) < 2:
        return ""
    return f" ({', '.join(f'{name} {_number(value)}' for name, value in zip(names, last.pseudo_dice, strict=False))})"


def epoch_line(row: "EpochRow", names: Sequence[str]) -> str:
    """An epoch that is done, on one line."""
    dice = ", ".join(f"{name} {_number(value)}" for name, value in zip(names, row.pseudo_dice, strict=False))
    parts = [
        number_of(row.steps, "step"),
        f"loss {_number(row.train_loss)} / {_number(row.validation_loss)}",
        f"pseudo-Dice {_number(row.mean_pseudo_dice)} (average {_number(row.ema_pseudo_dice)}; {dice})",
        *([f"whole cases Dice {_number(row.mean_case_dice)}"] if row.case_dice else []),
        f"{row.seconds_per_step:.2f} s/step",
        f"waiting {row.waiting_share:.0%}",
        f"{_clock(row.elapsed_s)} so far",
    ]
    return f"epoch {row.epoch}: {', '.join(parts)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
