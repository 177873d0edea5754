"""A model folder before its training begins: new, or with folds begun earlier that must have had the same settings."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from autoseg.artefacts import load, remove_unfinished, save
from autoseg.data.splits import Splits
from autoseg.errors import TrainingError, listed
from autoseg.planning.plan import Plan
from autoseg.training.fold import alone_in, forget, stored_card
from autoseg.training.model_folder import (
    CARD_FILE,
    FOLD_FILE,
    PLAN_FILE,
    SPLITS_FILE,
    ModelCard,
    differences,
    fold_folder,
    write_model,
)
from autoseg.training.previous_stage import PREVIOUS_FILE, PreviousStage
from autoseg.training.request import Training
from autoseg.training.self_test import SELF_TEST_FILE, SelfTest
from autoseg.training.task import Task
from autoseg.training.transfer import weights_digest

RESTART = "autoseg_train ... --restart"

ABANDONED_S = 600.0
"""Folds that are trained side by side write to one model folder: younger unfinished files may be theirs."""


def stored_model(model: Path) -> ModelCard | None:
    """What was noted when the training of `model` began, so that it goes on in the same way; None where it has not."""
    return load(ModelCard, model / CARD_FILE, remake=RESTART) if _begun(model) else None


def begin_model(task: Task, folds: Sequence[str], *, step_s: float | None, self_test: SelfTest, asked: Training) -> None:
    """Write what a model folder holds beside its folds. Raises TrainingError where it holds another training."""
    is_new = not _begun(task.model)
    _check_same_settings(task, folds)
    card = ModelCard(
        name=task.model.name,
        dataset=task.plan.dataset,
        configuration=task.configuration.name,
        autoseg_version=version("autoseg"),
        made_from=task.plan.made_from,
        step_s=step_s,
        variant=str(task.variant),
        recipe=asked.recipe,
        init_from=None if asked.init_from is None else str(asked.init_from),
    )
    task.ranks.only_first(lambda: _write(task, card, self_test if is_new else None))


def forget_folds(task: Task, folds: Sequence[str]) -> None:
    """Delete what earlier trainings left of these folds. Raises TrainingError while one of them is trained."""
    for fold in folds:
        with alone_in(fold_folder(task.model, fold)):
            forget(fold_folder(task.model, fold))


def _write(task: Task, card: ModelCard, self_test: SelfTest | None) -> None:
    remove_unfinished(task.model, older_than_s=ABANDONED_S)
    write_model(task.model, plan=task.plan, card=card, splits=task.splits)
    if self_test is not None:
        save(self_test, task.model / SELF_TEST_FILE)
    if task.previous is not None:
        save(task.previous.stage, task.model / PREVIOUS_FILE)


def _check_same_settings(task: Task, folds: Sequence[str]) -> None:
    """Refuse to mix trainings with different settings in one model folder."""
    begun = _begun(task.model)
    if not begun:
        return
    stored = load(Plan, task.model / PLAN_FILE, remake=RESTART)
    card = load(ModelCard, task.model / CARD_FILE, remake=RESTART)
    budgets = {fold: stored_card(task, fold).budget_s for fold in sorted(set(begun) & set(folds))}
    found = [
        f"time budget of fold {fold}: {_minutes(budget_s)} -> {_minutes(task.budget_s)} (shared by the folds)"
        for fold, budget_s in budgets.items()
        if budget_s != task.budget_s
    ]
    if card.configuration != task.configuration.name:
        found.append(f"configuration: {card.configuration} -> {task.configuration.name}")
    else:
        found += differences(stored, task.plan, task.configuration.name)
    if load(Splits, task.model / SPLITS_FILE, remake=RESTART) != task.splits:
        found.append("the cases of each fold (splits.json)")
    if task.previous is not None:
        before = load(PreviousStage, task.model / PREVIOUS_FILE, remake=RESTART)
        if before.digest != task.previous.stage.digest:
            found.append(f"{before.configuration}, whose findings it refines, was trained anew")
    found += [difference for fold in begun if (difference := _other_start(task, fold, resumes=fold in folds))]
    if found:
        shown = listed(found, between="; ")
        raise TrainingError(
            f"{task.model}: fold {', '.join(begun)} was trained with other settings: {shown}. Train beside it with --name "
            "NAME, give the same settings again to resume, or train its folds anew with --restart."
        )


def _other_start(task: Task, fold: str, *, resumes: bool) -> str | None:
    """How the weights that a begun fold started from differ from those asked for now; None where they do not.

    Folds that are not to be resumed need only have started from some model as well, or from none.
    """
    before = stored_card(task, fold).started_from
    now = None if task.source is None else weights_digest(task.source, fold)
    stayed = (before is None) == (now is None) and (not resumes or before is None or before.weights == now)
    if stayed:
        return None
    names = [None if before is None else before.model, None if task.source is None else str(task.source.path)]
    was, wanted = (name or "at random" for name in names)
    again = " (trained anew since)" if was == wanted else ""
    return f"weights that fold {fold} starts from: {was} -> {wanted}{again}"


def _begun(model: Path) -> list[str]:
    """The folds whose training has begun."""
    return sorted(path.parent.name.removeprefix("fold_") for path in model.glob(f"fold_*/{FOLD_FILE}"))


def _minutes(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds / 60:.4g} min"
