"""What each quality and arithmetic of prediction costs in Dice and saves in time, on cases that networks have not seen."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import cast

from pydantic import BaseModel

from autoseg.artefacts import FROZEN, load
from autoseg.data.dataset import Case, Dataset
from autoseg.data.splits import ALL
from autoseg.errors import PredictionError, unknown_name
from autoseg.evaluation.pairing import Files
from autoseg.evaluation.run import evaluate
from autoseg.prediction.case_job import CaseJob
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.report import CasePrediction
from autoseg.prediction.settings import QUALITIES, Arithmetic, chosen_settings
from autoseg.progress import SILENT, Progress
from autoseg.selection.candidates import WITHOUT_SPLITS
from autoseg.training.model_folder import Model, open_model
from autoseg.workspace import DatasetFolder

REMAKE = "autoseg_plan DATASET"


class QualityCost(BaseModel):
    """One quality in one arithmetic: the mean Dice over structures (None: in no case defined), and seconds of a case.

    Seconds are those of one network, from reading to writing, without loading the model; the median over cases.
    """

    model_config = FROZEN
    quality: str
    precision: str
    step: float
    mirroring: str
    single_window: bool
    cases: int
    mean_dice: float | None
    seconds_per_case: float


class PredictionBenchmark(BaseModel):
    """Qualities of a model, each measured on the same cases, every case by the fold that had not seen it.

    The first of `costs` is the most thorough one, in the first arithmetic asked for: the others are measured by it.
    """

    model_config = FROZEN
    model: str
    configuration: str
    folds: tuple[str, ...]
    device: str
    costs: tuple[QualityCost, ...]


def measure_qualities(
    folder: DatasetFolder,
    path: Path,
    *,
    qualities: Sequence[str] = tuple(QUALITIES),
    precisions: Sequence[str] = ("auto",),
    folds: Sequence[str] = (),
    cases_per_fold: int | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> PredictionBenchmark:
    """Dice and seconds of each quality in each of `precisions`, over the validation cases of the `folds` of a model.

    No folds: all that are trained. `cases_per_fold` takes the first cases only. Qualities take turns fold by fold, so that
    whatever else the machine does meets them alike. Predictions lie in the data set's folder of benchmarks. Raises
    PredictionError for a model that was trained on all cases alone, and UnknownNameError for an unknown
    quality, precision or fold.
    """
    for quality in qualities:
        if quality not in QUALITIES:
            raise unknown_name("quality", quality, QUALITIES)
    model = open_model(path)
    if not model.splits.folds:
        raise PredictionError(WITHOUT_SPLITS.format(name=model.card.name))
    judged = [fold for fold in folds or model.folds if fold != ALL]
    if not judged:
        raise PredictionError(f"{path}: only fold {ALL} is trained, which has seen every case. Train one with -f 0.")
    dataset = load(Dataset, folder.dataset_file, remake=REMAKE)
    from_best = sorted(qualities, key=list(QUALITIES).index, reverse=True)
    ways = [(quality, precision) for precision in precisions for quality in from_best]
    runs: dict[tuple[str, str], list[_Run]] = {}
    turns = [(fold, *way) for fold in judged for way in ways]
    predictor = None
    for fold, quality, precision in progress.track(turns, description="qualities", total=len(turns)):
        settings = chosen_settings(quality, precision=cast(Arithmetic, precision), device=device)
        predictor = Predictor.open(path, folds=[fold], settings=settings)
        numbers = predictor.precision.name
        output = folder.path / "benchmarks" / "prediction" / model.card.name / f"{quality}_{numbers}" / f"fold_{fold}"
        cases = _validation_cases(model, dataset, fold)[:cases_per_fold]
        runs.setdefault((quality, numbers), []).append(_run(predictor, cases, output))
    assert predictor is not None, "there is a fold and a quality"
    return PredictionBenchmark(
        model=model.card.name,
        configuration=model.configuration.name,
        folds=tuple(judged),
        device=str(predictor.device),
        costs=tuple(_cost(quality, numbers, found) for (quality, numbers), found in runs.items()),
    )


class _Run(BaseModel):
    """A fold's cases at one quality."""

    dice: float | None
    seconds: tuple[float, ...]


def _run(predictor: Predictor, cases: Sequence[Case], output: Path) -> _Run:
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    job = CaseJob(predictor, output)
    reports = [_whole(job.predict(case)) for case in cases]
    found = evaluate(output, partial(_references, cases), labels=predictor.labels, workers=1)
    return _Run(dice=found.over_structures["dice"].mean, seconds=tuple(sum(report.seconds.values()) for report in reports))


def _whole(report: CasePrediction) -> CasePrediction:
    if report.error is not None:
        raise PredictionError(report.error)
    return report


def _references(cases: Sequence[Case], _predicted: Sequence[str]) -> Files:
    return {case.id: Path(case.label) for case in cases if case.label is not None}


def _validation_cases(model: Model, dataset: Dataset, fold: str) -> list[Case]:
    """The cases that a fold was not trained on, with absolute paths."""
    if fold not in model.splits.names:
        raise unknown_name("fold", fold, model.splits.names)
    names = set(model.splits.folds[int(fold)].validation)
    return [
        Case(
            id=case.id,
            images=tuple(str(path.absolute()) for path in case.image_paths(dataset.folder)),
            label=str(case.label_path(dataset.folder)),
        )
        for case in dataset.cases
        if case.id in names
    ]


def _cost(quality: str, precision: str, runs: Sequence[_Run]) -> QualityCost:
    chosen = QUALITIES[quality]
    dice = [run.dice for run in runs if run.dice is not None]
    seconds = [value for run in runs for value in run.seconds]
    return QualityCost(
        quality=quality,
        precision=precision,
        step=chosen.step,
        mirroring=chosen.mirroring,
        single_window=chosen.single_window,
        cases=len(seconds),
        mean_dice=mean(dice) if dice else None,
        seconds_per_case=median(seconds),
    )


def quality_lines(found: PredictionBenchmark) -> list[str]:
    """A table in Markdown: each quality with its Dice, its seconds a case, and both beside the most thorough one."""
    best = found.costs[0]
    lines = [
        f"{found.model}, folds {', '.join(found.folds)}, {best.cases} validation cases, on {found.device}",
        "",
        "| quality | numbers | step | mirroring | single window | mean Dice | Dice lost | seconds a case | times as fast |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cost in found.costs:
        known = cost.mean_dice is not None and best.mean_dice is not None
        dice = f"{cost.mean_dice:.4f}" if known else "not defined"
        lost = f"{(best.mean_dice or 0) - (cost.mean_dice or 0):+.4f}" if known else ""
        lines.append(
            f"| {cost.quality} | {cost.precision} | {cost.step:g} | {cost.mirroring} "
            f"| {'yes' if cost.single_window else 'no'} | {dice} | {lost} "
            f"| {cost.seconds_per_case:.2f} | {best.seconds_per_case / max(cost.seconds_per_case, 1e-9):.1f} |"
        )
    return lines
