"""Training a configuration of a planned data set: from the plan in the workspace to a model folder."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from autoseg.artefacts import digest, load, remove_unfinished, save
from autoseg.augmentation.policy import POLICIES
from autoseg.data.dataset import Dataset
from autoseg.data.splits import Splits, make_splits
from autoseg.errors import StaleError, TrainingError
from autoseg.extend import resolve
from autoseg.fingerprint import Fingerprint, verify_unchanged
from autoseg.networks.unet import NETWORKS
from autoseg.planning.plan import Configuration, Plan
from autoseg.preprocessing.run import Manifest, preprocess, store_of, stored_as
from autoseg.progress import SILENT, Progress
from autoseg.training.choices import choices, chosen_plan
from autoseg.training.device import choose_device, choose_precision
from autoseg.training.distributed import ALONE, Ranks
from autoseg.training.fold import FoldResult, alone_in, forget, stored_card, train_fold
from autoseg.training.judge import Judge
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
from autoseg.training.observers import UNWATCHED, Observer
from autoseg.training.optim import OPTIMISERS, SCHEDULES
from autoseg.training.previous_stage import PREVIOUS_FILE, OutOfFold, PreviousStage
from autoseg.training.short import fitted_to_budget
from autoseg.training.side_by_side import Beside, rounds, train_side_by_side
from autoseg.training.task import Task, loss_of
from autoseg.training.transfer import weights_digest
from autoseg.training.trial import choose_variant, measure_step_s, variant_to_start
from autoseg.training.variants import VARIANTS, Variant
from autoseg.workspace import DatasetFolder

RESTART = "autoseg_train ... --restart"

ABANDONED_S = 600.0
"""Folds that are trained side by side write to one model folder: younger unfinished files may be theirs."""

logger = logging.getLogger(__name__)


def train(
    folder: DatasetFolder,
    configuration: str | None = None,
    *,
    folds: Sequence[str] = (),
    name: str | None = None,
    recipe: str | None = None,
    init_from: Path | str | None = None,
    settings: Sequence[str] = (),
    time_budget_s: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    restart: bool = False,
    workers: int | None = None,
    progress: Progress = SILENT,
    observer: Observer = UNWATCHED,
    previous: OutOfFold | None = None,
    ranks: Ranks = ALONE,
    judge: Judge | None = None,
    beside: Beside | None = None,
) -> list[FoldResult]:
    """Train `folds` (all of the cross-validation by default) of a configuration, one after another or `beside` each other.

    Preprocesses what is not up to date, resumes folds that were broken off and leaves finished ones alone. `recipe` names
    one (or a file) and brings a configuration of its own, `init_from` a model to take weights, topology and spacing from;
    `settings` are KEY=VALUE overrides of the plan, which win over both. `time_budget_s` is shared evenly by the folds;
    preprocessing and the two steps that measure how many fit are not counted. Where few fit, batch, optimiser and
    augmentation are changed to suit. `restart` deletes the folds first. `previous` is for the second stage of a cascade:
    `autoseg.cascade.train` sees to it. `judge` predicts held-out cases, some during the training and all at its end, which
    no time budget counts. Several processes started by torchrun train each fold together when all call this with their
    `ranks`. Raises UnknownNameError for a configuration, fold, recipe or model that does not exist, StaleError when the
    data has changed since it was planned, and TrainingError when the model folder was trained with other settings.
    """
    chosen = choices(folder, configuration, recipe=recipe, init_from=init_from, settings=settings)
    configuration, name = chosen.configuration, name or chosen.model_name
    plan = chosen_plan(folder, chosen)
    _check_previous(plan.configurations[configuration], previous)
    splits = ranks.first_then_others(lambda: load_splits(folder))
    folds = list(dict.fromkeys(folds)) or list(splits.names)
    for fold in folds:
        splits.fold(fold)
    if threads is not None:
        torch.set_num_threads(threads)
    places = beside.places(device, folds=len(folds)) if beside is not None and ranks.size == 1 else ()
    where = choose_device(places[0] if places else ranks.own_device(device))
    for place in places:
        choose_device(place)
    task = Task(
        model=folder.model(name),
        plan=plan,
        configuration=plan.configurations[configuration],
        splits=splits,
        preprocessed=store_of(folder, plan, configuration),
        device=where,
        precision=choose_precision(plan.training.precision, where),
        budget_s=None if time_budget_s is None else time_budget_s / rounds(len(folds), len(places)),
        observer=observer,
        previous=previous,
        ranks=ranks,
        judge=judge,
        source=chosen.source,
    )
    task = replace(task, variant=variant_to_start(task))
    ranks.share(task.configuration.batch_size)
    _refuse_unknown_parts(task)
    if task.source is not None and task.source.path.resolve() == task.model.resolve():
        raise TrainingError(f"{task.model}: the training would replace the model it starts from. Give it a --name.")
    prepare = partial(prepare_cases, folder, plan, configuration, workers=workers, progress=progress)
    ranks.first_then_others(prepare)
    if restart:
        ranks.only_first(lambda: _forget(task.model, folds))
    step_s = None if task.budget_s is None else _step_s(task, folds)
    if task.budget_s is not None and step_s is not None:
        task = _fitted(task, step_s=step_s, budget_s=task.budget_s, settings=chosen.by_hand)
    task = replace(task, variant=_variant(task, folds, step_s=step_s, settings=settings))
    _begin_model(task, folds, name=name, step_s=step_s, recipe=recipe, init_from=init_from)
    if beside is not None and len(places) > 1:
        return train_side_by_side(task, folds, places, beside)
    return [train_fold(task, fold) for fold in folds]


def _forget(model: Path, folds: Sequence[str]) -> None:
    for fold in folds:
        with alone_in(fold_folder(model, fold)):
            forget(fold_folder(model, fold))


def _refuse_unknown_parts(task: Task) -> None:
    """Raise for names in the plan that stand for nothing, before preprocessing takes time or a model folder is begun."""
    settings = task.plan.training
    resolve("network", task.configuration.network.kind, NETWORKS)
    resolve("optimiser", settings.optimiser, OPTIMISERS)
    resolve("schedule", settings.schedule, SCHEDULES)
    resolve("augmentation policy", settings.augmentation, POLICIES)
    loss_of(task)


def _check_previous(configuration: Configuration, previous: OutOfFold | None) -> None:
    if configuration.previous_stage is not None and previous is None:
        raise TrainingError(
            f"{configuration.name} refines what {configuration.previous_stage} finds in cases it was not trained on, and "
            "was not given that. Train with autoseg.cascade.train or autoseg_train, which make it."
        )


def load_splits(folder: DatasetFolder) -> Splits:
    """The stored splits of a data set, made now where there are none."""
    dataset = load(Dataset, folder.dataset_file, remake="autoseg_plan DATASET")
    ids = [case.id for case in dataset.cases]
    if not folder.splits_file.exists():
        save(make_splits(ids), folder.splits_file)
    splits = load(Splits, folder.splits_file, remake="delete it and train again")
    gone = sorted(set(splits.case_ids) - set(ids))
    if gone:
        raise StaleError(
            f"{folder.splits_file}: names case {gone[0]}, which is not in the data set any more. "
            "Delete the file to have it made anew, or correct it."
        )
    unused = sorted(set(ids) - set(splits.case_ids))
    if unused:
        logger.warning(
            "%s: %d of %d cases are in no fold and will not be used: %s. Delete the file to have it made anew.",
            folder.splits_file,
            len(unused),
            len(ids),
            ", ".join(unused[:5]) + (" ..." if len(unused) > 5 else ""),
        )
    return splits


def prepare_cases(
    folder: DatasetFolder, plan: Plan, configuration: str, *, workers: int | None, progress: Progress
) -> Manifest:
    """Preprocess the cases for a configuration as far as they are not; configurations that want the same ones share them.

    Raises StaleError when the data has changed since it was planned.
    """
    dataset = load(Dataset, folder.dataset_file, remake="autoseg_plan DATASET")
    fingerprint = load(Fingerprint, folder.fingerprint_file, remake="autoseg_plan DATASET")
    verify_unchanged(dataset, fingerprint)
    name = stored_as(plan, configuration)
    place = store_of(folder, plan, configuration)
    return preprocess(dataset, digest(fingerprint), plan, name, place, workers=workers, progress=progress)


def _step_s(task: Task, folds: Sequence[str]) -> float:
    """Seconds of a step: as measured when the model was begun, so that a resumed training has the same settings, or now."""
    if _begun(task.model):
        stored = load(ModelCard, task.model / CARD_FILE, remake=RESTART).step_s
        if stored is not None:
            return stored
    return measure_step_s(task, folds[0])


def _variant(task: Task, folds: Sequence[str], *, step_s: float | None, settings: Sequence[str]) -> Variant:
    """How steps are computed: as when the model was begun, so that a resumed training has the same weights bit for bit."""
    if task.plan.training.variant == "auto" and _begun(task.model):
        return VARIANTS[load(ModelCard, task.model / CARD_FILE, remake=RESTART).variant]
    is_seeded = any(setting.partition("=")[0].strip() == "training.seed" for setting in settings)
    return choose_variant(task, folds[0], step_s=step_s, is_repeatable=is_seeded)


def _fitted(task: Task, *, step_s: float, budget_s: float, settings: Sequence[str]) -> Task:
    """The task with settings that suit its budget."""
    name = task.configuration.name
    plan = fitted_to_budget(task.plan, name, step_s=step_s, budget_s=budget_s, settings=settings)
    if plan != task.plan:
        decision = plan.decisions[-1]
        logger.info("%s: %s, because %s", decision.name, decision.value, decision.because)
    return replace(task, plan=plan, configuration=plan.configurations[name])


def _begin_model(
    task: Task,
    folds: Sequence[str],
    *,
    name: str,
    step_s: float | None,
    recipe: str | None,
    init_from: Path | str | None,
) -> None:
    """Write what a model folder holds beside its folds. Raises TrainingError where it holds another training."""
    _check_same_settings(task, folds)
    card = ModelCard(
        name=name,
        dataset=task.plan.dataset,
        configuration=task.configuration.name,
        autoseg_version=version("autoseg"),
        made_from=task.plan.made_from,
        step_s=step_s,
        variant=str(task.variant),
        recipe=recipe,
        init_from=None if init_from is None else str(init_from),
    )
    task.ranks.only_first(lambda: _write(task, card))


def _write(task: Task, card: ModelCard) -> None:
    remove_unfinished(task.model, older_than_s=ABANDONED_S)
    write_model(task.model, plan=task.plan, card=card, splits=task.splits)
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
        shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
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
