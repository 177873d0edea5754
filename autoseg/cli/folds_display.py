"""How folds that are trained at the same time are shown: one live table on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autoseg.cli.train_display import EVERY_S, TrainingDisplay, epoch_line, step_line
from autoseg.errors import number_of

if TYPE_CHECKING:
    from autoseg.training.example import Example
    from autoseg.training.history import EpochRow
    from autoseg.training.observers import Observer, Start, Step
    from autoseg.training.side_by_side import Beside


def side_by_side(devices: Sequence[str], *, quiet: bool) -> "Beside":
    """How folds are trained at the same time by a command, on `devices` or else all GPUs."""
    from autoseg.training.side_by_side import Beside

    if quiet:
        return Beside(devices=tuple(devices), logged=plain_lines)
    return Beside(devices=tuple(devices), shown=FoldsDisplay(live=sys.stderr.isatty()).of, logged=plain_lines)


def plain_lines() -> "Observer":
    """What a fold's log says."""
    return TrainingDisplay(live=False)


class FoldsDisplay:
    """One line per fold under way, and above them a line for each epoch, on standard error."""

    def __init__(self, *, live: bool) -> None:
        self._wants_live = live
        self._live: Any = None
        self._lines: dict[str, str] = {}

    def of(self, fold: str) -> "_FoldLines":
        """What shows one of the folds."""
        return _FoldLines(self, fold, is_live=self._wants_live)

    def say(self, fold: str, text: str) -> None:
        """Print a line that stays."""
        line = f"fold {fold}: {text}"
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def show(self, fold: str, text: str | None) -> None:
        """Change the live line of a fold; None takes it away, and with the last one the display ends."""
        from rich.console import Console
        from rich.live import Live

        if text is None:
            self._lines.pop(fold, None)
        else:
            self._lines[fold] = f"fold {fold}: {text}"
        if self._live is None and self._lines:
            self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
            self._live.start()
        if self._live is not None:
            self._live.update("\n".join(self._lines[name] for name in sorted(self._lines)))
            if not self._lines:
                self._live.stop()
                self._live = None


class _FoldLines:
    """Passes on what happens in one fold as lines."""

    def __init__(self, display: FoldsDisplay, fold: str, *, is_live: bool) -> None:
        self._display, self._fold, self._is_live = display, fold, is_live
        self._last: EpochRow | None = None
        self._names: tuple[str, ...] = ()
        self._said_s = time.monotonic()

    def started(self, start: "Start") -> None:
        """A line about the fold."""
        self._names = start.output_names
        at = f"epoch {start.first_epoch}, step {start.first_step}"
        resumed = f", resumed at {at}" if start.first_epoch or start.first_step else ""
        self._display.say(self._fold, f"{number_of(start.training_cases, 'case')} to train on, {start.device}{resumed}")

    def stepped(self, step: "Step") -> None:
        """The live line anew, or a plain line now and then."""
        if self._is_live:
            self._display.show(self._fold, step_line(step, self._last, self._names))
        elif time.monotonic() - self._said_s >= EVERY_S:
            self._said_s = time.monotonic()
            self._display.say(self._fold, step_line(step, self._last, self._names))

    def pictured(self, example: "Example") -> None:
        """Nothing."""

    def epoch_ended(self, history: Sequence["EpochRow"]) -> None:
        """A line that stays."""
        self._last, self._said_s = history[-1], time.monotonic()
        self._display.say(self._fold, epoch_line(history[-1], self._names))

    def warned(self, message: str) -> None:
        """A line that stays."""
        self._display.say(self._fold, f"warning: {message}")

    def ended(self) -> None:
        """The live line goes."""
        if self._is_live:
            self._display.show(self._fold, None)
