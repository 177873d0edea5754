"""Evaluating a folder of predictions."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.artefacts import digest, refuse_unwritable, save
from autoseg.data.image import compare_grids
from autoseg.data.labels import Label, LabelScheme
from autoseg.data.readers import read_labels
from autoseg.errors import EvaluationError, LabelError
from autoseg.evaluation.evaluate import CaseScores, Evaluation, evaluate_case, over_foreground, summarise
from autoseg.evaluation.metrics import DEFAULT_METRICS
from autoseg.evaluation.pairing import Files, Pairing, label_files, match
from autoseg.evaluation.table import write_case_table
from autoseg.parallel import map_cases
from autoseg.progress import SILENT, Progress

logger = logging.getLogger(__name__)

EVALUATION_FILE = "evaluation.json"
CASES_FILE = "per_case.csv"

Pair = tuple[str, Path, Path]


def evaluate(
    predictions: Path | str,
    references: Path | str | Callable[[Sequence[str]], Files],
    *,
    labels: LabelScheme | None = None,
    output: Path | str | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    allow_missing: bool = False,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Scores of every prediction in a folder against its reference, written to `output` (the predictions' folder).

    `references` is a folder of label files with the names of the predictions, or a function from the predicted case ids to
    the files that are expected of them (`pairing.dataset_references`). Without `labels`, each value found in the
    references is a structure of its own, called label_N. One case is in memory per worker.

    Writes evaluation.json and per_case.csv. Raises EvaluationError for a reference without a prediction (unless
    `allow_missing`), for different grids, and for values that are not declared, with the files and both values.
    """
    predictions, output = Path(predictions), Path(output or predictions)
    found = label_files(predictions, what="predictions")
    expected = references(list(found)) if callable(references) else label_files(Path(references), what="references")
    pairing = match(found, expected, allow_missing=allow_missing)
    if pairing.extra:
        logger.warning("predictions without a reference, not evaluated: %s", ", ".join(pairing.extra))
    refuse_unwritable(output, remedy="Choose another folder with -o DIR.")
    scheme = labels or labels_in(pairing.pairs, workers=workers, progress=progress)
    cases = map_cases(
        partial(_evaluate_pair, scheme=scheme, metrics=tuple(metrics)),
        pairing.pairs,
        name=_case_id,
        stage="evaluate",
        workers=workers,
        progress=progress,
    )
    folder = next(iter(expected.values())).parent if callable(references) else Path(references)
    evaluation = _summed_up(
        cases, metrics=metrics, scheme=scheme, pairing=pairing, predictions=predictions, references=folder
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


def _evaluate_pair(pair: Pair, *, scheme: LabelScheme, metrics: Sequence[str]) -> CaseScores:
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
        )
    except LabelError as error:
        raise EvaluationError(
            f"case {case_id}: {error} (prediction {prediction}, reference {reference}). "
            "Name the data set these labels belong to with -d DATASET."
        ) from error


def _summed_up(
    cases: Sequence[CaseScores],
    *,
    metrics: Sequence[str],
    scheme: LabelScheme,
    pairing: Pairing,
    predictions: Path,
    references: Path,
) -> Evaluation:
    regions = summarise([case.regions for case in cases])
    labels = summarise([case.labels for case in cases])
    return Evaluation(
        predictions=str(predictions.absolute()),
        references=str(references.absolute()),
        scheme=scheme,
        metrics=tuple(metrics),
        cases=tuple(cases),
        regions=regions,
        labels=labels,
        foreground_regions=over_foreground(regions),
        foreground_labels=over_foreground(labels),
        extra=pairing.extra,
        missing=pairing.missing,
        made_from={"labels": digest(scheme)},
    )
