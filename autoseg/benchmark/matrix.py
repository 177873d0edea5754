"""Several ways to train compared under the same budget: each is trained, predicts its held-out cases and is evaluated.

Run as a program it makes one row, see autoseg/benchmark/apart.py: a row that fails, or is killed, leaves the others alone.
"""

import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from autoseg import cascade
from autoseg.artefacts import digest, load
from autoseg.benchmark.apart import answered, requested
from autoseg.benchmark.rows import Row, Table, mean_dice, scores_of
from autoseg.benchmark.setting import Setting
from autoseg.benchmark.stored_rows import Wanted, find_row, keep_row
from autoseg.benchmark.timing import this_machine
from autoseg.data.dataset import Dataset
from autoseg.errors import AutosegError, BenchmarkError
from autoseg.evaluation.evaluate import Evaluation
from autoseg.evaluation.pairing import dataset_references
from autoseg.evaluation.run import EVALUATION_FILE, evaluate
from autoseg.planning.plan import Plan
from autoseg.planning.recipes import load_recipe
from autoseg.prediction.report import REPORT_FILE, PredictionReport
from autoseg.progress import SILENT, Progress
from autoseg.training.fold import FoldResult
from autoseg.training.model_folder import VALIDATION_FOLDER, Model, fold_folder, network_of, open_model
from autoseg.training.request import Means, Training
from autoseg.validation import WholeCases

HISTORY_FILE = "history.jsonl"
AS_DECLARED = "evaluation_as_declared"
"""Folder of a fold's scores in the structures of the data set, where those of the recipe are others."""
DEFAULT = "default"
"""What a table calls training as the plan says, without a recipe; a short budget changes it as it does in training."""

PEER = "nnunet"
"""The program whose stored rows (`autoseg_benchmark peer`) stand in the table beside ours."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """What every row gets: seconds of training, or a number of steps where `iterations` is given; and the seed."""

    seconds: float | None
    iterations: int | None
    seed: int

    @property
    def settings(self) -> tuple[str, ...]:
        """As settings of the plan."""
        steps = self.iterations
        fixed = (
            ()
            if steps is None
            else (f"training.epochs={max(1, steps // 50)}", f"training.iterations_per_epoch={min(50, steps)}")
        )
        return (f"training.seed={self.seed}", *fixed)


def combinations(plan: Plan, configurations: Sequence[str], recipes: Sequence[str]) -> list[tuple[str, str | None]]:
    """Each configuration with each recipe that is made for its dimensions, alone where there are no recipes.

    Among recipes DEFAULT is the plan without any. Raises BenchmarkError for a recipe that fits none of the configurations,
    UnknownNameError for an unknown one.
    """
    if not recipes:
        return [(name, None) for name in configurations]
    found: list[tuple[str, str | None]] = []
    for name in recipes:
        if name == DEFAULT:
            found += [(one, None) for one in configurations]
            continue
        recipe = load_recipe(name)
        fitting = [one for one in configurations if recipe.dimensions in (None, plan.configurations[one].dimensions)]
        if not fitting:
            raise BenchmarkError(
                f"recipe {name} is for networks in {recipe.dimensions} dimensions; none of {', '.join(configurations)} is. "
                "Name one with --configurations."
            )
        found += [(one, recipe.name) for one in fitting]
    return found


def compare(
    setting: Setting,
    wanted: Sequence[tuple[str, str | None]],
    *,
    folds: Sequence[str],
    budget: Budget,
    progress: Progress = SILENT,
) -> Table:
    """The table of all combinations; rows that were made before with the very same settings are taken from there.

    Rows that a peer made of these configurations with the same budget and folds come last.
    """
    asked = [
        wanted_row(setting, configuration, recipe=recipe, folds=folds, budget=budget) for configuration, recipe in wanted
    ]
    rows = [_row(setting, one) for one in progress.track(asked, description="rows", total=len(asked))]
    alone = {one.configuration: one.model_copy(update={"recipe": None}) for one in asked}
    others = [find_row(setting, one.model_copy(update={"program": PEER})) for one in alone.values()]
    machine = this_machine(device=str(setting.device), threads=setting.threads)
    return Table(
        dataset=setting.plan.dataset,
        plan=digest(setting.plan),
        machine=machine,
        budget_s=budget.seconds,
        iterations=budget.iterations,
        seed=budget.seed,
        rows=(*rows, *(row for row in others if row is not None)),
    )


def wanted_row(setting: Setting, configuration: str, *, recipe: str | None, folds: Sequence[str], budget: Budget) -> Wanted:
    """What a row of this configuration is made from."""
    return Wanted(
        plan=digest(setting.plan),
        configuration=configuration,
        recipe=recipe,
        folds=tuple(folds),
        settings=(*setting.settings, *budget.settings),
        budget_s=budget.seconds,
        device=str(setting.device),
        threads=setting.threads,
    )


def training_of(wanted: Wanted) -> Training:
    """The training of a row; its model is named after all that the row is made from, so that no other row takes it."""
    return Training(
        wanted.configuration,
        recipe=wanted.recipe,
        folds=wanted.folds,
        name=f"benchmark_{digest(wanted)}",
        settings=wanted.settings,
        time_budget_s=None if wanted.budget_s is None else wanted.budget_s * len(wanted.folds),
    )


def _row(setting: Setting, wanted: Wanted) -> Row:
    stored = find_row(setting, wanted)
    if stored is not None:
        return stored
    own = replace(setting, configuration=setting.plan.configurations[wanted.configuration])
    try:
        row = Row.model_validate_json(answered("autoseg.benchmark.matrix", own, wanted=wanted.model_dump(mode="json")))
    except BenchmarkError as error:
        logger.warning("%s failed: %s", wanted.name, error)
        return _failed(wanted, str(error))
    if row.failed is None:
        keep_row(setting, wanted, row)
    else:
        logger.warning("%s failed: %s", wanted.name, row.failed)
    return row


def _failed(wanted: Wanted, reason: str) -> Row:
    return Row(
        name=wanted.name,
        configuration=wanted.configuration,
        recipe=wanted.recipe,
        folds=wanted.folds,
        budget_s=wanted.budget_s,
        failed=reason,
    )


def make_row(setting: Setting, wanted: Wanted) -> Row:
    """Train, predict and evaluate one combination; an interrupted one goes on where it was."""
    means = Means(device=wanted.device, threads=wanted.threads, judge=WholeCases(setting.folder))
    try:
        results = cascade.train(setting.folder, training_of(wanted), means=means)
    except AutosegError as error:
        return _failed(wanted, str(error))
    return _measured(wanted, results, load(Dataset, setting.folder.dataset_file, remake="autoseg_plan DATASET"))


def _measured(wanted: Wanted, results: Sequence[FoldResult], dataset: Dataset) -> Row:
    model = open_model(results[0].model)
    folders = [fold_folder(model.path, result.card.fold) for result in results]
    evaluations = [_evaluation(folder, model, dataset) for folder in folders]
    reports = [
        load(PredictionReport, folder / VALIDATION_FOLDER / REPORT_FILE, remake="autoseg_train") for folder in folders
    ]
    epochs = [row for folder in folders for row in _history(folder)]
    steps = sum(row["steps"] for row in epochs)
    cases = [case for report in reports for case in report.cases]
    scores = scores_of(evaluations)
    memory = [row["memory_bytes"] for row in epochs if row["memory_bytes"] is not None]
    return Row(
        name=wanted.name,
        configuration=wanted.configuration,
        recipe=wanted.recipe,
        folds=wanted.folds,
        budget_s=wanted.budget_s,
        steps=steps,
        batch_size=model.configuration.batch_size,
        step_s=sum(row["seconds_per_step"] * row["steps"] for row in epochs) / max(steps, 1),
        case_s=sum(sum(case.seconds.values()) for case in cases) / len(cases) if cases else None,
        peak_bytes=max(memory, default=None),
        parameters=results[0].card.parameters,
        gflop=gflop_of(model.plan, wanted.configuration),
        mean_dice=mean_dice(scores),
        scores=scores,
    )


def _evaluation(folder: Path, model: Model, dataset: Dataset) -> Evaluation:
    """A fold's scores in the structures of the data set, which a recipe may not have been trained on as such."""
    validation = folder / VALIDATION_FOLDER
    if model.plan.labels == dataset.labels:
        return load(Evaluation, validation / EVALUATION_FILE, remake="autoseg_train")
    references = partial(dataset_references, dataset, whole=False)
    return evaluate(validation, references, labels=dataset.labels, output=folder / AS_DECLARED)


def _history(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / HISTORY_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def gflop_of(plan: Plan, configuration: str) -> float:
    """10^9 floating point operations of one patch through the network, forward; nothing is computed."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    one = plan.configurations[configuration]
    with FakeTensorMode(), FlopCounterMode(display=False) as counter, torch.no_grad():
        network_of(plan, one)(torch.empty(1, plan.input_channels(one), *one.patch_size))
    return float(counter.get_total_flops()) / 1e9


def main() -> None:
    """Make the row that is asked for and print it."""
    begun = time.monotonic()
    setting, request = requested()
    asked: Mapping[str, Any] = request["wanted"]
    wanted = Wanted.model_validate({**asked, "folds": tuple(asked["folds"]), "settings": tuple(asked["settings"])})
    row = make_row(setting, wanted)
    logger.debug("%s took %.0f s", wanted.name, time.monotonic() - begun)
    sys.stdout.write("\n" + row.model_dump_json() + "\n")


if __name__ == "__main__":
    main()
