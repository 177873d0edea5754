"""Training one fold: everything around the loop that lies in the fold's folder."""

import logging
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from autoseg.artefacts import load, remove_unfinished, save
from autoseg.data.splits import ALL
from autoseg.errors import TrainingError
from autoseg.lock import locked
from autoseg.training.allocator import kept_memory
from autoseg.training.checkpoint import load_checkpoint, remove_checkpoints, save_checkpoint, save_weights
from autoseg.training.distributed import Ranks
from autoseg.training.events import TensorBoardEvents
from autoseg.training.interrupt import held_back
from autoseg.training.judge import FoldScores, Judge
from autoseg.training.loop import ended_early, fit
from autoseg.training.model_folder import (
    EVENTS_FOLDER,
    FOLD_FILE,
    VALIDATION_FOLDER,
    FoldCard,
    Transfer,
    fold_folder,
    network_of,
    weights_file,
)
from autoseg.training.observers import UNWATCHED, FoldFiles, Observer, Several, Start
from autoseg.training.setup import Surroundings
from autoseg.training.state import TrainingState, as_checkpoint, new_state, restore
from autoseg.training.task import Task, open_stored, pace_of, setup_of
from autoseg.training.transfer import take_weights
from autoseg.training.whole_batch import pool_norms

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldResult:
    """A trained fold: the model folder it lies in, its card, and whether it had been trained before.

    `scores` are those of the cases it was not trained on; None where nobody judged them.
    """

    model: Path
    card: FoldCard
    was_finished: bool
    scores: FoldScores | None = None


def train_fold(task: Task, fold: str) -> FoldResult:
    """Train a fold, from its last checkpoint if there is one, and have it judged; a finished fold is left alone.

    Of several processes that train it together the first one looks after its folder. Raises TrainingError while another
    run trains it.
    """
    if not task.ranks.is_first:
        return _take_part(task, fold)
    with alone_in(fold_folder(task.model, fold)):
        result = _trained(task, fold)
        return result if task.judge is None else replace(result, scores=_judged(task, fold, task.judge))


def _judged(task: Task, fold: str, judge: Judge) -> FoldScores | None:
    if fold == ALL:
        logger.info("fold %s is trained on every case: none is left to judge it on", fold)
        return None
    cases = [open_stored(task, id_) for id_ in task.splits.fold(fold)[1]]
    try:
        return judge.fold(task.model, fold, cases, device=task.device)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"fold {fold} is trained; the same command goes on with its validation") from error


def _trained(task: Task, fold: str) -> FoldResult:
    folder = fold_folder(task.model, fold)
    remove_unfinished(folder)
    task.ranks.wait()
    if _is_finished(task, fold):
        logger.info("fold %s is finished; nothing to do (train it anew with --restart)", fold)
        return FoldResult(model=task.model, card=stored_card(task, fold), was_finished=True)
    state, started_from = _state(task, fold)
    task.ranks.wait()  # until all have read the checkpoint
    start = _start(task, fold, state)
    events = [TensorBoardEvents(folder / EVENTS_FOLDER)] if task.plan.training.tensorboard else []
    observer = Several(FoldFiles(folder), *events, task.observer)
    save(_fold_card(task, start, state, started_from=started_from), folder / FOLD_FILE)
    observer.started(start)
    try:
        _fit(task, fold, state, observer)
    finally:
        observer.ended()
    reason = ended_early(state, task.plan.training)
    if reason is not None:
        logger.info("fold %s: ended after epoch %d: %s", fold, state.position.epoch - 1, reason)
    save_weights(state.weights, weights_file(task.model, fold, "final"))
    card = _fold_card(task, start, state, started_from=started_from, finished=True)
    save(card, folder / FOLD_FILE)
    remove_checkpoints(folder)
    task.ranks.wait()
    return FoldResult(model=task.model, card=card, was_finished=False)


def alone_in(folder: Path) -> AbstractContextManager[None]:
    """A fold's folder held by this process alone; raises TrainingError naming the one that trains there."""
    return locked(
        folder,
        refuse=lambda holder: TrainingError(
            f"{folder}: another run is training here ({holder}). Wait for it, stop it, or train beside it with --name."
        ),
    )


def _take_part(task: Task, fold: str) -> FoldResult:
    """Train a fold with the process that looks after its folder, waiting for it wherever that writes."""
    task.ranks.wait()
    if _is_finished(task, fold):
        return FoldResult(model=task.model, card=stored_card(task, fold), was_finished=True)
    state, _ = _state(task, fold)
    task.ranks.wait()
    _fit(task, fold, state, UNWATCHED)
    task.ranks.wait()
    return FoldResult(model=task.model, card=stored_card(task, fold), was_finished=False)


def _is_finished(task: Task, fold: str) -> bool:
    has_begun = (fold_folder(task.model, fold) / FOLD_FILE).exists()
    return has_begun and stored_card(task, fold).finished and weights_file(task.model, fold, "final").exists()


def _state(task: Task, fold: str) -> tuple[TrainingState, Transfer | None]:
    """The state to train on from, fresh or as the last whole checkpoint has it, and what it took of another model."""
    if task.device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    network = network_of(task.plan, task.configuration)
    checkpoint = load_checkpoint(fold_folder(task.model, fold))
    started_from = None
    if checkpoint is not None:
        started_from = stored_card(task, fold).started_from
    elif task.source is not None:
        started_from = take_weights(network, task.source, fold=fold, plan=task.plan, configuration=task.configuration)
        logger.info("fold %s starts from %s, fold %s: %s", fold, task.source.path, started_from.fold, started_from)
    state = fresh_state(task, network)
    if checkpoint is not None:
        restore(state, checkpoint)
    join(network, task.ranks)
    return state, started_from


def fresh_state(task: Task, network: nn.Module) -> TrainingState:
    """The state before the first step, computing as the task's variant says."""
    return new_state(
        network,
        settings=task.plan.training,
        device=task.device,
        precision=task.precision,
        variant=task.variant,
    )


def join(network: nn.Module, ranks: Ranks) -> None:
    """Let a network be trained by several processes."""
    ranks.make_alike(network)
    pool_norms(network, ranks)


def _fit(task: Task, fold: str, state: TrainingState, observer: Observer) -> None:
    folder, ranks = fold_folder(task.model, fold), task.ranks
    with held_back() as interrupted, kept_memory():
        around = Surroundings(
            save=lambda state: save_checkpoint(as_checkpoint(state), folder),
            save_best=lambda state: save_weights(state.weights, weights_file(task.model, fold, "best")),
            interrupted=lambda: ranks.any(interrupted()),
            observer=observer,
            clock=ranks.clock(),
        )
        if not ranks.is_first:
            around = replace(around, save=unsaved, save_best=unsaved)
        fit(state, setup_of(task, fold, pace_of(task)), around)


def unsaved(_state: TrainingState) -> None:
    """Saves nothing."""


def _start(task: Task, fold: str, state: TrainingState) -> Start:
    train_ids, validation_ids = task.splits.fold(fold)
    return Start(
        configuration=task.configuration.name,
        fold=fold,
        device=str(task.device),
        precision=task.precision.name,
        parameters=sum(parameter.numel() for parameter in state.network.parameters()),
        training_cases=len(train_ids),
        validation_cases=len(validation_ids),
        epochs=None if task.budget_s is not None else task.plan.training.epochs,
        budget_s=task.budget_s,
        first_epoch=state.position.epoch,
        first_step=state.position.iteration,
        output_names=task.plan.labels.output_names,
    )


def _fold_card(
    task: Task, start: Start, state: TrainingState, *, started_from: Transfer | None, finished: bool = False
) -> FoldCard:
    last = state.history[-1] if state.history else None
    return FoldCard(
        fold=start.fold,
        finished=finished,
        budget_s=task.budget_s,
        device=start.device,
        precision=start.precision,
        threads=torch.get_num_threads(),
        torch_version=torch.__version__,
        variant=str(task.variant),
        parameters=start.parameters,
        epochs=state.position.epoch,
        steps=sum(row.steps for row in state.history),
        seconds=state.position.elapsed_s,
        train_loss=last.train_loss if last else None,
        pseudo_dice=last.pseudo_dice if last else (),
        mean_pseudo_dice=last.mean_pseudo_dice if last else None,
        best_ema_pseudo_dice=state.best_ema,
        ended_early=ended_early(state, task.plan.training),
        started_from=started_from,
    )


def stored_card(task: Task, fold: str) -> FoldCard:
    """The card of a fold whose training has begun."""
    remake = f"autoseg_train {task.configuration.name} -f {fold} --restart"
    return load(FoldCard, fold_folder(task.model, fold) / FOLD_FILE, remake=remake)


def forget(folder: Path) -> None:
    """Delete what an earlier training left in a fold's folder."""
    remove_checkpoints(folder)
    for pattern in ("weights_*.safetensors", "history.*", "progress.png", FOLD_FILE):
        for path in folder.glob(pattern):
            path.unlink()
    for name in (VALIDATION_FOLDER, EVENTS_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
