"""What is asked of a training, and what it is done with: two values that every way to start one passes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.data.splits import Splits
from autoseg.progress import SILENT, Progress
from autoseg.training.distributed import ALONE, Ranks
from autoseg.training.judge import Judge
from autoseg.training.observers import UNWATCHED, Observer
from autoseg.training.side_by_side import Beside


@dataclass(frozen=True)
class Training:
    """What to train: a `configuration` of the plan, the recipe's own by default, and all that shall differ from the plan.

    `folds` are those of the cross-validation by default, "all" trains on every case. `name` is the model's, by default that
    of the recipe or the configuration. `recipe` is the name of one or a file, `init_from` a model to take weights, topology
    and spacing from; `settings` are KEY=VALUE overrides of the plan, which win over both. `time_budget_s` is shared evenly
    by the folds; preprocessing and the steps that measure how many fit are not counted, and where few fit, batch,
    optimiser and augmentation are changed to suit. `restart` deletes the folds first.
    """

    configuration: str | None = None
    folds: Sequence[str] = ()
    name: str | None = None
    recipe: str | None = None
    init_from: Path | str | None = None
    settings: Sequence[str] = ()
    time_budget_s: float | None = None
    restart: bool = False

    def folds_of(self, splits: Splits) -> list[str]:
        """The folds to train, none twice. Raises UnknownNameError for one that `splits` does not have."""
        folds = list(dict.fromkeys(self.folds)) or list(splits.names)
        for fold in folds:
            splits.fold(fold)
        return folds


@dataclass(frozen=True)
class Means:
    """What to train with: machine, helpers and whoever takes part; nothing of it is in the model's settings.

    `device` is as in `choose_device`; `threads` of this process and `workers` that preprocess, both None for as many as
    make sense. `observer` follows the training, `progress` what takes long besides. `judge` predicts held-out cases, some
    during the training and all at its end, which no time budget counts. Several processes started by torchrun train each
    fold together when all give their `ranks`; `beside` trains folds at the same time.
    """

    device: str = "auto"
    threads: int | None = None
    workers: int | None = None
    progress: Progress = SILENT
    observer: Observer = UNWATCHED
    ranks: Ranks = ALONE
    judge: Judge | None = None
    beside: Beside | None = None

    def places(self, folds: int) -> tuple[str, ...]:
        """The devices on which so many folds are trained at the same time; none where one follows the other here."""
        if self.beside is None or self.ranks.size > 1:
            return ()
        return self.beside.places(self.device, folds=folds)


USUAL = Means()
