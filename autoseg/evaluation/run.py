"""Evaluating a folder of predictions."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.artefacts import refuse_unwritable, save
from autoseg.data.image import compare_grids
from autoseg.data.labels import Label, LabelScheme
from autoseg.data.readers import read_labels
from autoseg.errors import EvaluationError, ImageError, LabelError
from autoseg.evaluation.evaluate import Evaluation, summed_up
from autoseg.evaluation.metrics import DEFAULT_METRICS
from autoseg.evaluation.pairing import Files, label_files, match
from autoseg.evaluation.scores import CaseScores, evaluate_case
from autoseg.evaluation.settings import DEFAULT_SETTINGS, Settings
from autoseg.evaluation.strata import read_strata
from autoseg.evaluation.table import write_case_table
from autoseg.parallel import map_cases
from autoseg.progress import SILENT, Progress

logger = logging.getLogger(__name__)

EVALUATION_FILE = "evaluation.json"
CASES_FILE = "per_case.csv"
MOST_LISTED = 20

Pair = tuple[str, Path, Path]


def evaluate(
    predictions: Path | str,
    references: Path | str | Callable[[Sequence[str]], Files],
    *,
    labels: LabelScheme | None = None,
    output: Path | str | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    settings: Settings = DEFAULT_SETTINGS,
    stratify: tuple[Path, str] | None = None,
    allow_missing: bool = False,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Scores of every prediction in a folder against its reference, written to `output` (the predictions' folder).

    `references` is a folder of label files with the names of the predictions, or a function from the predicted case ids to
    the files that are expected of them (`pairing.dataset_references`). Without `labels`, each value found in the
    references is a structure of its own, called label_N. `stratify` names a CSV file and the column by whose values the
    cases are summarised apart as well. One case is in memory per worker.

    Writes evaluation.json and per_case.csv. Raises EvaluationError for a reference without a prediction (unless
    `allow_missing`), and, once all cases have been tried, one that names every case that could not be evaluated: different
    grids, values that are not declared, damaged files.
    """
    predictions, output = Path(predictions), Path(output or predictions)
    found = label_files(predictions, what="predictions")
    expected = references(list(found)) if callable(references) else label_files(Path(references), what="references")
    pairing = match(found, expected, allow_missing=allow_missing)
    if pairing.extra:
        logger.warning("predictions without a reference, not evaluated: %s", ", ".join(pairing.extra))
    refuse_unwritable(output, remedy="Choose another folder with -o DIR.")
    ids = [case_id for case_id, _, _ in pairing.pairs]
    strata = read_strata(*stratify, cases=ids) if stratify is not None else None
    scheme = labels or labels_in(pairing.pairs, workers=workers, progress=progress)
    cases = map_cases(
        partial(_evaluate_pair, scheme=scheme, metrics=tuple(metrics), settings=settings),
        pairing.pairs,
        name=_case_id,
        stage="evaluate",
        workers=workers,
        progress=progress,
    )
    folder = next(iter(expected.values())).parent if callable(references) else Path(references)
    evaluation = summed_up(
        _all_evaluated(cases),
        scheme=scheme,
        settings=settings,
        metrics=metrics,
        predictions=str(predictions.absolute()),
        references=str(folder.absolute()),
        extra=pairing.extra,
        missing=pairing.missing,
        strata=strata,
        stratified_by=stratify[1] if stratify is not None else None,
    )
    save(evaluation, output / EVALUATION_FILE)
    write_case_table(evaluation, output / CASES_FILE)
    return evaluation


def labels_in(pairs: Sequence[Pair], *, workers: int | None, progress: Progress) -> LabelScheme:
    """A scheme made of the values in the references, called label_N; 0 is the background.

    Raises EvaluationError when the references hold nothing but background.
    """
    found = map_cases(_values_of_reference, pairs, name=_case_id, stage="find labels", workers=workers, progress=progress)
    values = sorted(set().union(*found) - {0})
    if not values:
        raise EvaluationError("the references hold nothing but background (0). Name the data set with -d DATASET.")
    labels = (Label(name="background", value=0), *(Label(name=f"label_{value}", value=value) for value in values))
    return LabelScheme(labels=labels)


def _case_id(pair: Pair) -> str:
    return pair[0]


def _values_of_reference(pair: Pair) -> set[int]:
    values, _ = read_labels(pair[2])
    return {int(value) for value in np.unique(values)}


def _all_evaluated(cases: Sequence[CaseScores | str]) -> list[CaseScores]:
    """The scores, if every case has some: a mean that leaves cases out without a word would be wrong."""
    problems = [case for case in cases if isinstance(case, str)]
    if not problems:
        return [case for case in cases if isinstance(case, CaseScores)]
    if len(problems) == 1:
        raise EvaluationError(problems[0])
    listed = "\n".join(f"- {problem}" for problem in problems[:MOST_LISTED])
    more = f"\n- and {len(problems) - MOST_LISTED} more" if len(problems) > MOST_LISTED else ""
    raise EvaluationError(f"{len(problems)} of {len(cases)} cases cannot be evaluated:\n{listed}{more}")


def _evaluate_pair(pair: Pair, *, scheme: LabelScheme, metrics: Sequence[str], settings: Settings) -> CaseScores | str:
    """The scores of a case, or what keeps it from having any."""
    try:
        return _compare_files(pair, scheme=scheme, metrics=metrics, settings=settings)
    except (EvaluationError, ImageError) as error:
        return str(error)


def _compare_files(pair: Pair, *, scheme: LabelScheme, metrics: Sequence[str], settings: Settings) -> CaseScores:
    case_id, prediction, reference = pair
    predicted, geometry = read_labels(prediction)
    truth, expected = read_labels(reference)
    for difference in compare_grids(geometry, expected):
        if not difference.is_drift:
            raise EvaluationError(
                f"case {case_id}: {difference.field} of {prediction} is {difference.first}, but that of its reference "
                f"{reference} is {difference.second}. Both must lie on one grid: predict on the images that belong to it."
            )
    try:
        return evaluate_case(
            predicted,
            truth,
            case_id=case_id,
            scheme=scheme,
            spacing_mm=expected.spacing_mm,
            is_flat=expected.is_flat,
            metrics=metrics,
            settings=settings,
        )
    except LabelError as error:
        raise EvaluationError(
            f"case {case_id}: {error} (prediction {prediction}, reference {reference}). "
            "Name the data set these labels belong to with -d DATASET."
        ) from error
