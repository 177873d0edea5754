"""What is trained, and from it what the loop needs: loss, pace, and sources of batches."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from autoseg.data.splits import ALL, Splits
from autoseg.losses import build_loss
from autoseg.networks.unet import decoder_levels
from autoseg.planning.plan import Configuration, Plan
from autoseg.preprocessing.previous_maps import open_map
from autoseg.preprocessing.store import StoredCase, open_case
from autoseg.training.budget import Pace, StepPace, TimePace
from autoseg.training.device import Precision
from autoseg.training.distributed import ALONE, Ranks
from autoseg.training.judge import Judge
from autoseg.training.loader import prefetch
from autoseg.training.model_folder import Model
from autoseg.training.observers import Observer
from autoseg.training.patches import Batch, BatchSource, PatchSource
from autoseg.training.previous_stage import OutOfFold
from autoseg.training.setup import Setup
from autoseg.training.variants import PLAIN, Variant
from autoseg.training.whole_batch import WholeBatch

BATCHES_AHEAD = 3


@dataclass(frozen=True)
class Task:
    """What is the same for all folds of one call; `budget_s` is for each of them, `previous` for a cascade.

    `ranks` says which of several processes that train a fold together this one is. `source` is the model whose
    weights they start from.
    """

    model: Path
    plan: Plan
    configuration: Configuration
    splits: Splits
    preprocessed: Path
    device: torch.device
    precision: Precision
    budget_s: float | None
    observer: Observer
    previous: OutOfFold | None = None
    ranks: Ranks = ALONE
    judge: Judge | None = None
    source: Model | None = None
    variant: Variant = PLAIN


def setup_of(task: Task, fold: str, pace: Pace) -> Setup:
    """What the training loop needs for one fold."""
    settings = task.plan.training
    train_ids, validation_ids = task.splits.fold(fold)
    return Setup(
        settings=settings,
        labels=task.plan.labels,
        loss=WholeBatch(loss_of(task), task.ranks, task.configuration.batch_size),
        device=task.device,
        precision=task.precision,
        pace=pace,
        training=_source(task, train_ids, augment=True),
        validation=_source(task, validation_ids, augment=False),
        stream=partial(_ahead, patience_s=settings.watchdog_s),
        epochs=pace.epochs if isinstance(pace, StepPace) else None,
        iterations=pace.iterations if isinstance(pace, StepPace) else None,
        ranks=task.ranks,
        whole_cases=None if task.judge is None or fold == ALL else _whole_cases(task, task.judge, validation_ids),
    )


def _whole_cases(task: Task, judge: Judge, ids: Sequence[str]) -> Callable[[nn.Module], tuple[float | None, ...]]:
    """What gives the Dice of the first of the held-out cases."""
    return partial(
        judge.cases,
        cases=[open_stored(task, id_) for id_ in ids[: task.plan.training.validate_cases]],
        plan=task.plan,
        configuration=task.configuration,
        device=task.device,
    )


def loss_of(task: Task) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
    """The loss that the plan names, for as many outputs as the network has."""
    settings = task.plan.training
    return build_loss(
        settings.loss,
        labels=task.plan.labels,
        batch_dice=task.configuration.batch_dice,
        deep_supervision_levels=decoder_levels(task.configuration.network) if settings.deep_supervision else 1,
        settings=settings,
    )


def pace_of(task: Task) -> Pace:
    """When the training ends: with its time, or with its steps."""
    settings = task.plan.training
    if task.budget_s is not None:
        return TimePace(budget_s=task.budget_s, validation=settings.validation_iterations)
    return StepPace(
        epochs=settings.epochs, iterations=settings.iterations_per_epoch, validation=settings.validation_iterations
    )


def _source(task: Task, ids: Sequence[str], *, augment: bool) -> BatchSource:
    return PatchSource(
        [open_stored(task, id_) for id_ in ids],
        configuration=task.configuration,
        training=task.plan.training,
        labels=task.plan.labels,
        augment=augment,
        # A GPU augments in passing what would keep several processor cores busy.
        device=task.device if task.device.type == "cuda" else "cpu",
        share=task.ranks.share(task.configuration.batch_size),
    )


def open_stored(task: Task, id_: str) -> StoredCase:
    """A preprocessed case, with what a previous stage found in it where there is one."""
    case = open_case(task.preprocessed, id_)
    if task.previous is None:
        return case
    return replace(case, previous=open_map(task.previous.folder, id_, shape=case.placement.network_shape))


def _ahead(
    source: BatchSource, *, epoch: int, iterations: int, patience_s: float
) -> Generator[tuple[Batch, float], None, None]:
    yield from prefetch(source, epoch=epoch, iterations=iterations, ahead=BATCHES_AHEAD, patience_s=patience_s)
