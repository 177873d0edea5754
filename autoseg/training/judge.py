"""What a training asks of the parts above it: predictions of whole cases, while it runs and at its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from autoseg.planning.plan import Configuration, Plan
from autoseg.preprocessing.store import StoredCase


@dataclass(frozen=True)
class FoldScores:
    """How a trained fold does on the `cases` it was not trained on, and the `folder` with predictions and evaluation.

    `mean_dice` is over structures of their means over cases; None where no structure occurs.
    """

    mean_dice: float | None
    cases: int
    folder: Path


class Judge(Protocol):
    """Predicts whole cases. Prediction is a later stage than training, so it is passed in."""

    def cases(
        self,
        network: nn.Module,
        cases: Sequence[StoredCase],
        *,
        plan: Plan,
        configuration: Configuration,
        device: torch.device,
    ) -> tuple[float | None, ...]:
        """Dice of each foreground output, the mean over whole `cases`, with the weights that `network` has now."""
        ...

    def fold(self, model: Path, fold: str, cases: Sequence[StoredCase], *, device: torch.device) -> FoldScores:
        """Predict and evaluate the held-out `cases` of a fold that is trained; what is up to date is left alone."""
        ...
