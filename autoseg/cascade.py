"""Training one configuration after the other where the second refines what the first finds.

A second stage that saw the first one's findings in cases the first was trained on would learn to trust them too much:
it gets those of the fold that had not seen the case.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import BaseModel

from autoseg.artefacts import FROZEN, digest
from autoseg.data.labels import LabelScheme
from autoseg.data.splits import ALL, Splits
from autoseg.errors import StaleError, TrainingError
from autoseg.planning.plan import Configuration, Plan
from autoseg.prediction.ensemble import Member
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.previous_stage import before_resampling, refined_classes
from autoseg.prediction.settings import Settings
from autoseg.prediction.stored import prepared_from
from autoseg.preprocessing.previous_maps import is_map_stored, save_map
from autoseg.preprocessing.run import store_of
from autoseg.preprocessing.store import open_case
from autoseg.training import run
from autoseg.training.cases import load_splits, prepare_cases
from autoseg.training.choices import choices, chosen_plan
from autoseg.training.fold import FoldResult
from autoseg.training.model_folder import Model, finished_folds, load_network, open_model
from autoseg.training.previous_stage import OutOfFold, PreviousStage, folds_digest
from autoseg.training.request import USUAL, Means, Training
from autoseg.workspace import DatasetFolder

logger = logging.getLogger(__name__)


class MapSource(BaseModel):
    """What the findings in one case are made from: weights of a fold and how they are used, and the case.

    `weights`, `coarse_case` and `fine_case` (the case as stored for the first and the second stage) are digests.
    """

    model_config = FROZEN
    weights: str
    configuration: Configuration
    mirror_axes: tuple[int, ...]
    mirror_pairs: tuple[tuple[str, str], ...]
    labels: LabelScheme
    coarse_case: str
    fine_case: str


def train(folder: DatasetFolder, training: Training, *, means: Means = USUAL) -> list[FoldResult]:
    """Train a configuration as `autoseg.training.run.train` does, and before it the stage whose findings it refines.

    A first stage that is not trained is trained now, all its folds, with the same recipe and settings; a time budget is for
    one stage alone, so with one the first must be there. Raises TrainingError naming the command to run where the first
    stage cannot be used.
    """
    asked = choices(folder, training)
    plan = chosen_plan(folder, asked)
    chosen = plan.configurations[asked.configuration]
    if means.threads is not None:
        torch.set_num_threads(means.threads)
    previous = None
    if chosen.previous_stage is not None:
        # What starts from another model's weights is the second stage.
        shared = None if asked.recipe is None or asked.recipe.needs_source else training.recipe
        first = _first_stage(folder, chosen, replace(training, recipe=shared), means=means)
        path = folder.models / (training.name or asked.model_name)
        previous = means.ranks.first_then_others(lambda: _out_of_fold(folder, plan, chosen, first, model=path, means=means))
    return run.train(folder, replace(training, configuration=asked.configuration), means=means, previous=previous)


def unseen_by(splits: Splits, case_ids: Sequence[str]) -> dict[str, str]:
    """For each case a fold that was not trained on it: the one that validated on it, else the first.

    Raises TrainingError naming a case that every fold was trained on.
    """
    found = {}
    for id_ in case_ids:
        folds = {name: splits.fold(name) for name in splits.names}
        unseen = [name for name, (trained, _) in folds.items() if id_ not in trained]
        if not unseen:
            raise TrainingError(
                f"case {id_}: every fold of the first stage is trained on it, so none can say what it would find in a new "
                "case. Give each case a fold that validates on it in splits.json, and train the first stage again."
            )
        found[id_] = next((name for name in unseen if id_ in folds[name][1]), unseen[0])
    return found


def _first_stage(folder: DatasetFolder, chosen: Configuration, training: Training, *, means: Means) -> Model:
    """The model of the previous stage with all folds of the cross-validation trained, if need be now."""
    first = str(chosen.previous_stage)
    path = folder.models / first
    done = finished_folds(path)
    missing = [fold for fold in load_splits(folder).names if fold not in done]
    if missing:
        command = f"autoseg_train {first} -d {folder.path.name} -f {','.join(missing)}"
        if done == (ALL,):
            raise TrainingError(
                f"{path}: only fold {ALL} is trained, and it has seen every case. {chosen.name} has to learn from what "
                f"{first} finds in cases it was not trained on. Train the folds of its cross-validation: {command}"
            )
        if training.time_budget_s is not None:
            raise TrainingError(
                f"{chosen.name} refines what {first} finds, and fold {', '.join(missing)} of that is not trained. A time "
                f"budget is for one stage: train the first one with its own, {command} --time-budget TIME"
            )
        logger.info("%s: trains its first stage %s before, fold %s", chosen.name, first, ", ".join(missing))
        asked = Training(first, folds=missing, name=first, recipe=training.recipe, settings=training.settings)
        _train_first(folder, asked, command=command, means=means)
    return open_model(path)


def _train_first(folder: DatasetFolder, asked: Training, *, command: str, means: Means) -> None:
    first = str(asked.configuration)
    begun = (folder.models / first).exists()
    try:
        run.train(folder, asked, means=means)
    except TrainingError as error:
        hint = f" Finish the first stage with the settings it was begun with: {command}" if begun else ""
        raise TrainingError(f"first stage {first}: {error}{hint}") from error


@dataclass(frozen=True)
class _Stores:
    """Where the cases lie as each stage sees them, and where what the first finds goes."""

    coarse: Path
    fine: Path
    found: Path


def _out_of_fold(
    folder: DatasetFolder, plan: Plan, chosen: Configuration, first: Model, *, model: Path, means: Means
) -> OutOfFold:
    """The first stage's findings in all cases, each made by a fold that had not seen it; only what is stale is made."""
    _check_alike(plan, first)
    workers, progress = means.workers, means.progress
    fine = prepare_cases(folder, plan, chosen.name, workers=workers, progress=progress)
    coarse = prepare_cases(folder, first.plan, first.configuration.name, workers=workers, progress=progress)
    stores = _Stores(
        coarse=store_of(folder, first.plan, first.configuration.name),
        fine=store_of(folder, plan, chosen.name),
        found=folder.preprocessed(chosen.name) / first.card.name,
    )
    by_case = unseen_by(first.splits, load_splits(folder).case_ids)
    used = sorted(set(by_case.values()))
    for fold in used:
        weights = folds_digest(first, [fold])
        stamps = {
            id_: _stamp(first, weights, coarse_case=coarse.cases[id_], fine_case=fine.cases[id_])
            for id_, unseen in by_case.items()
            if unseen == fold
        }
        _find(first, fold, stamps, stores, labels=plan.labels, means=means)
    logger.info("%s: first stage: out-of-fold predictions of %s folds %s", chosen.name, first.card.name, shown_folds(used))
    stage = PreviousStage(
        model=Path(os.path.relpath(first.path, model)).as_posix(),
        configuration=first.configuration.name,
        folds=tuple(used),
        digest=folds_digest(first, used),
    )
    return OutOfFold(stage=stage, folder=stores.found)


def shown_folds(folds: Sequence[str]) -> str:
    """Names of folds for people: a run of numbers as 0-4, others one by one."""
    numbers = [int(fold) for fold in folds if fold.isdigit()]
    if len(numbers) == len(folds) > 1 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(folds)


def _check_alike(plan: Plan, first: Model) -> None:
    if (first.plan.channels, first.plan.labels) != (plan.channels, plan.labels):
        raise StaleError(
            f"{first.path}: was trained on other channels or labels than the plan has now. "
            f"Train it anew: {first.remake('--restart')}"
        )


def _stamp(first: Model, weights: str, *, coarse_case: str, fine_case: str) -> str:
    source = MapSource(
        weights=weights,
        configuration=first.configuration,
        mirror_axes=first.plan.training.mirror_axes,
        mirror_pairs=first.plan.training.mirror_pairs,
        labels=first.plan.labels,
        coarse_case=coarse_case,
        fine_case=fine_case,
    )
    return digest(source)


def _find(first: Model, fold: str, stamps: dict[str, str], stores: _Stores, *, labels: LabelScheme, means: Means) -> None:
    """Store what one fold finds in the cases of `stamps` that are not stored yet."""
    pending = [id_ for id_, stamp in stamps.items() if not is_map_stored(stores.found, id_, made_from=stamp)]
    if not pending:
        return
    member = Member(first.plan, first.configuration, (load_network(first, fold),))
    predictor = Predictor([member], settings=Settings(device=means.ranks.own_device(means.device)))
    described = f"{first.card.name} fold {fold} predicts its validation cases"
    for id_ in means.progress.track(pending, description=described, total=len(pending)):
        coarse, fine = open_case(stores.coarse, id_), open_case(stores.fine, id_)
        if before_resampling(coarse.placement) != before_resampling(fine.placement):
            raise StaleError(
                f"case {id_}: {first.configuration.name} was trained on images turned or cropped differently. "
                f"Train it anew: {first.remake('--restart')}"
            )
        (scores,) = predictor.scores([prepared_from(coarse, labels=labels)])
        classes = refined_classes(
            scores,
            source=coarse.placement,
            target=fine.placement,
            resampling=first.configuration.resampling,
            labels=labels,
        )
        save_map(stores.found, id_, classes, made_from=stamps[id_])
