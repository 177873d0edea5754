"""Training a configuration of a planned data set: from the plan in the workspace to a model folder."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from autoseg.augmentation.policy import POLICIES
from autoseg.errors import TrainingError
from autoseg.extend import resolve
from autoseg.networks.unet import NETWORKS
from autoseg.planning.plan import Configuration
from autoseg.preprocessing.run import store_of
from autoseg.training.begun import begin_model, forget_folds, stored_model
from autoseg.training.cases import load_splits, prepare_cases
from autoseg.training.choices import Choices, choices, chosen_plan
from autoseg.training.device import choose_device, choose_precision
from autoseg.training.fold import FoldResult, train_fold
from autoseg.training.optim import OPTIMISERS, SCHEDULES
from autoseg.training.previous_stage import OutOfFold
from autoseg.training.request import USUAL, Means, Training
from autoseg.training.self_test import SelfTest
from autoseg.training.short import fitted_to_budget
from autoseg.training.side_by_side import rounds, train_side_by_side
from autoseg.training.task import Task, loss_of
from autoseg.training.trial import choose_variant, measure_step_s, variant_to_start
from autoseg.training.variants import VARIANTS
from autoseg.workspace import DatasetFolder

logger = logging.getLogger(__name__)


def train(
    folder: DatasetFolder, training: Training, *, means: Means = USUAL, previous: OutOfFold | None = None
) -> list[FoldResult]:
    """Train the folds that are asked for, one after another or beside each other.

    Preprocesses what is not up to date, resumes folds that were broken off and leaves finished ones alone. `previous` is
    for the second stage of a cascade: `autoseg.cascade.train` sees to it. Raises UnknownNameError for a configuration,
    fold, recipe or model that does not exist, StaleError when the data has changed since it was planned, and TrainingError
    when the model folder was trained with other settings.
    """
    chosen = choices(folder, training)
    if means.threads is not None:
        torch.set_num_threads(means.threads)
    task, folds = _task(folder, training, chosen, means=means, previous=previous)
    means.ranks.first_then_others(
        lambda: prepare_cases(folder, task.plan, chosen.configuration, workers=means.workers, progress=means.progress)
    )
    if training.restart:
        means.ranks.only_first(lambda: forget_folds(task, folds))
    step_s = None if task.budget_s is None else _step_s(task, folds)
    fitted = _fitted(task, chosen, step_s=step_s)
    self_test = _self_test(fitted, folds, settings=training.settings, step_s=step_s)
    fitted = replace(fitted, variant=VARIANTS[self_test.taken])
    begin_model(fitted, folds, step_s=step_s, self_test=self_test, asked=training)
    places = means.places(len(folds))
    if means.beside is not None and len(places) > 1:
        return train_side_by_side(fitted, folds, places, means.beside)
    return [train_fold(fitted, fold) for fold in folds]


def _task(
    folder: DatasetFolder, training: Training, chosen: Choices, *, means: Means, previous: OutOfFold | None
) -> tuple[Task, list[str]]:
    """What is to be trained and its folds, everything looked up and nothing written yet but the splits."""
    plan = chosen_plan(folder, chosen)
    configuration = plan.configurations[chosen.configuration]
    _check_previous(configuration, previous)
    splits = means.ranks.first_then_others(lambda: load_splits(folder))
    folds = training.folds_of(splits)
    places = means.places(len(folds))
    where = choose_device(places[0] if places else means.ranks.own_device(means.device))
    for place in places:
        choose_device(place)
    task = Task(
        model=folder.model(training.name or chosen.model_name),
        plan=plan,
        configuration=configuration,
        splits=splits,
        preprocessed=store_of(folder, plan, configuration.name),
        device=where,
        precision=choose_precision(plan.training.precision, where),
        budget_s=None if training.time_budget_s is None else training.time_budget_s / rounds(len(folds), len(places)),
        observer=means.observer,
        previous=previous,
        ranks=means.ranks,
        judge=means.judge,
        source=chosen.source,
    )
    task = replace(task, variant=variant_to_start(task))
    _refuse_what_cannot_be_trained(task)
    return task, folds


def _refuse_what_cannot_be_trained(task: Task) -> None:
    """Raise for what stands for nothing or does not fit, before preprocessing takes time or a model folder is begun."""
    task.ranks.share(task.configuration.batch_size)
    settings = task.plan.training
    resolve("network", task.configuration.network.kind, NETWORKS)
    resolve("optimiser", settings.optimiser, OPTIMISERS)
    resolve("schedule", settings.schedule, SCHEDULES)
    resolve("augmentation policy", settings.augmentation, POLICIES)
    loss_of(task)
    if task.source is not None and task.source.path.resolve() == task.model.resolve():
        raise TrainingError(f"{task.model}: the training would replace the model it starts from. Give it a --name.")


def _check_previous(configuration: Configuration, previous: OutOfFold | None) -> None:
    if configuration.previous_stage is not None and previous is None:
        raise TrainingError(
            f"{configuration.name} refines what {configuration.previous_stage} finds in cases it was not trained on, and "
            "was not given that. Train with autoseg.cascade.train or autoseg_train, which make it."
        )


def _step_s(task: Task, folds: Sequence[str]) -> float:
    """Seconds of a step: as measured when the model was begun, so that a resumed training has the same settings, or now."""
    stored = stored_model(task.model)
    return measure_step_s(task, folds[0]) if stored is None or stored.step_s is None else stored.step_s


def _self_test(task: Task, folds: Sequence[str], *, settings: Sequence[str], step_s: float | None) -> SelfTest:
    """How steps are computed: as when the model was begun, so that a resumed training has the same weights bit for bit."""
    stored = stored_model(task.model)
    if task.plan.training.variant == "auto" and stored is not None:
        return SelfTest(taken=stored.variant, because="the training was begun with it")
    is_seeded = any(setting.partition("=")[0].strip() == "training.seed" for setting in settings)
    return choose_variant(task, folds[0], step_s=step_s, is_repeatable=is_seeded)


def _fitted(task: Task, chosen: Choices, *, step_s: float | None) -> Task:
    """The task with settings that suit its time budget, if it has one."""
    if task.budget_s is None or step_s is None:
        return task
    name = task.configuration.name
    plan = fitted_to_budget(task.plan, name, step_s=step_s, budget_s=task.budget_s, settings=chosen.by_hand)
    if plan != task.plan:
        decision = plan.decisions[-1]
        logger.info("%s: %s, because %s", decision.name, decision.value, decision.because)
    return replace(task, plan=plan, configuration=plan.configurations[name])
