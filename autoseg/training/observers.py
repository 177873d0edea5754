"""Who follows a training: files in its folder, the terminal, anything with these methods."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autoseg.training.example import Example
from autoseg.training.history import EpochRow, write_history, write_json_lines


@dataclass(frozen=True)
class Start:
    """What is about to be trained; `first_epoch` and `first_step` are where it begins when it is resumed."""

    configuration: str
    fold: str
    device: str
    precision: str
    parameters: int
    training_cases: int
    validation_cases: int
    epochs: int | None
    budget_s: float | None
    first_epoch: int
    output_names: tuple[str, ...]
    first_step: int = 0


@dataclass(frozen=True)
class Step:
    """One step; `loss` is None where it was not finite and the step was skipped.

    `progress` is the share of the training that is done, `left_s` the seconds that are left of it. `iterations` is None
    where a time budget decides how many there are. `memory_bytes` is as in EpochRow.
    """

    epoch: int
    epochs: int | None
    iteration: int
    iterations: int | None
    loss: float | None
    learning_rate: float
    step_s: float
    waiting_share: float
    progress: float
    left_s: float | None
    memory_bytes: int | None = None


class Observer(Protocol):
    """Anything that follows a training."""

    def started(self, start: Start) -> None:
        """A fold is about to be trained."""
        ...

    def stepped(self, step: Step) -> None:
        """A step has been taken."""
        ...

    def pictured(self, example: Example) -> None:
        """A slice of a validation patch has been looked at, once an epoch, before it ends."""
        ...

    def epoch_ended(self, history: Sequence[EpochRow]) -> None:
        """An epoch has ended; its row is the last of `history`."""
        ...

    def warned(self, message: str) -> None:
        """Something went wrong that does not stop the training."""
        ...

    def ended(self) -> None:
        """The fold is trained, or its training was broken off."""
        ...


class Unwatched:
    """Ignores everything; the others only say what they look at."""

    def started(self, start: Start) -> None:
        """Nothing."""

    def stepped(self, step: Step) -> None:
        """Nothing."""

    def pictured(self, example: Example) -> None:
        """Nothing."""

    def epoch_ended(self, history: Sequence[EpochRow]) -> None:
        """Nothing."""

    def warned(self, message: str) -> None:
        """Nothing."""

    def ended(self) -> None:
        """Nothing."""


UNWATCHED: Observer = Unwatched()


class Several:
    """Passes everything on to several observers, in order."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers

    def started(self, start: Start) -> None:
        """Pass on."""
        for observer in self.observers:
            observer.started(start)

    def stepped(self, step: Step) -> None:
        """Pass on."""
        for observer in self.observers:
            observer.stepped(step)

    def pictured(self, example: Example) -> None:
        """Pass on."""
        for observer in self.observers:
            observer.pictured(example)

    def epoch_ended(self, history: Sequence[EpochRow]) -> None:
        """Pass on."""
        for observer in self.observers:
            observer.epoch_ended(history)

    def warned(self, message: str) -> None:
        """Pass on."""
        for observer in self.observers:
            observer.warned(message)

    def ended(self) -> None:
        """Pass on."""
        for observer in self.observers:
            observer.ended()


class FoldFiles:
    """Keeps history.csv, history.jsonl and progress.png of a fold's folder up to date, after each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._output_names: tuple[str, ...] = ()
        self._title = ""

    def started(self, start: Start) -> None:
        """Remember what the outputs are called."""
        # Before the first step: importing matplotlib takes seconds on a loaded machine, which no epoch should be charged.
        importlib.import_module("matplotlib.backends.backend_agg")
        self._output_names = start.output_names
        self._title = f"{start.configuration}, fold {start.fold}"

    def stepped(self, step: Step) -> None:
        """Nothing."""

    def pictured(self, example: Example) -> None:
        """Nothing."""

    def epoch_ended(self, history: Sequence[EpochRow]) -> None:
        """Write all three files anew."""
        from autoseg.training.curves import draw_curves

        write_history(history, self.folder / "history.csv", output_names=self._output_names)
        write_json_lines(history, self.folder / "history.jsonl", output_names=self._output_names)
        draw_curves(history, self.folder / "progress.png", output_names=self._output_names, title=self._title)

    def warned(self, message: str) -> None:
        """Nothing."""

    def ended(self) -> None:
        """Nothing."""
