"""What a training needs besides its state: settings, sources of batches, and what lies around it as functions."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from autoseg.data.labels import LabelScheme
from autoseg.planning.plan import TrainingSettings
from autoseg.training.budget import Pace
from autoseg.training.device import Precision
from autoseg.training.distributed import ALONE, Ranks
from autoseg.training.observers import Observer
from autoseg.training.patches import Batch, BatchSource
from autoseg.training.state import TrainingState


class Stream(Protocol):
    """A way to run through a source, possibly ahead of the training."""

    def __call__(self, source: BatchSource, *, epoch: int, iterations: int) -> Generator[tuple[Batch, float], None, None]:
        """The batches of an epoch, each with the seconds that were spent waiting for it; closed when left early."""
        ...


def in_turn(source: BatchSource, *, epoch: int, iterations: int) -> Generator[tuple[Batch, float], None, None]:
    """Each batch is made when it is asked for."""
    for iteration in range(iterations):
        begun = time.monotonic()
        batch = source.batch(epoch, iteration)
        yield batch, time.monotonic() - begun


@dataclass(frozen=True)
class Setup:
    """What stays the same throughout a training. `iterations` and `epochs` are None under a time budget.

    `training` and `validation` give this process's share of each batch, `loss` the value of the whole batch.
    `whole_cases` gives the Dice of each foreground output in some held-out cases.
    """

    settings: TrainingSettings
    labels: LabelScheme
    loss: Callable[[Sequence[Tensor], Tensor], Tensor]
    device: torch.device
    precision: Precision
    pace: Pace
    training: BatchSource
    validation: BatchSource
    stream: Stream = in_turn
    epochs: int | None = None
    iterations: int | None = None
    ranks: Ranks = ALONE
    whole_cases: Callable[[nn.Module], tuple[float | None, ...]] | None = None


@dataclass(frozen=True)
class Surroundings:
    """Files, clocks and signals, as functions.

    `save` writes a checkpoint, `save_best` the weights of the best epoch so far; `interrupted` says whether to stop.
    """

    save: Callable[[TrainingState], None]
    save_best: Callable[[TrainingState], None]
    interrupted: Callable[[], bool]
    observer: Observer
    clock: Callable[[], float] = time.monotonic
