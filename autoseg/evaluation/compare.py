"""Two sets of predictions for the same cases held against each other, case by case."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.errors import EvaluationError, listed
from autoseg.evaluation.evaluate import Evaluation
from autoseg.evaluation.scores import CaseScores, Scores
from autoseg.evaluation.summary import interval, resampled_means

COMPARISON_FORMAT = 1


class Difference(BaseModel):
    """One metric of one structure in both sets: only cases in which both are defined are `pairs`.

    `difference` is the mean of second minus first, `low` to `high` its 95 % bootstrap interval over cases. `p` is that of
    Wilcoxon's signed-rank test (two-sided; None where no pair differs), `corrected_p` after Holm's correction over all
    structures that are compared by this metric.
    """

    model_config = FROZEN
    pairs: int
    undefined: int
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    corrected_p: float | None


Differences = dict[str, Difference]
"""Differences by the metric's name."""


class PairedComparison(BaseModel):
    """Two evaluations of the same cases. `first` and `second` name the predictions, `cases` those in both."""

    model_config = FROZEN
    format: int = COMPARISON_FORMAT
    first: str
    second: str
    cases: tuple[str, ...]
    metrics: tuple[str, ...]
    regions: dict[str, Differences]
    labels: dict[str, Differences]


def compare(first: Evaluation, second: Evaluation) -> PairedComparison:
    """What changes from the first to the second set of predictions, metric by metric.

    Raises EvaluationError, naming what differs, unless both hold the same cases and structures under the same settings:
    means over different cases say nothing about the predictions.
    """
    _refuse_unlike(first, second)
    metrics, others = [metric for metric in first.metrics if metric in second.metrics], _sorted_like(second, first)
    return PairedComparison(
        first=first.predictions,
        second=second.predictions,
        cases=tuple(case.id for case in first.cases),
        metrics=tuple(metrics),
        regions=_differences([case.regions for case in first.cases], [case.regions for case in others], metrics),
        labels=_differences([case.labels for case in first.cases], [case.labels for case in others], metrics),
    )


def holm(values: Sequence[float | None]) -> list[float | None]:
    """P values corrected for testing them together; None stays None and is not counted.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6 (1979).
    """
    known = sorted((value, index) for index, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (value, index) in enumerate(known):
        largest = max(largest, min(1.0, value * (len(known) - rank)))
        corrected[index] = largest
    return corrected


def _refuse_unlike(first: Evaluation, second: Evaluation) -> None:
    only = _only_in(first, second) + _only_in(second, first)
    if only:
        raise EvaluationError(f"the two sets hold different cases ({'; '.join(only)}). Predict the same cases with both.")
    if (first.scheme.labels, first.scheme.regions) != (second.scheme.labels, second.scheme.regions):
        raise EvaluationError("the two sets were evaluated with different labels or regions. Evaluate both with one -d.")
    if first.settings != second.settings:
        raise EvaluationError(
            "the two sets were evaluated with different settings (tolerance, lesion rule or undefined values). "
            "Evaluate both again with the same options."
        )
    for one, other in zip(first.cases, _sorted_like(second, first), strict=True):
        if [sum(row) for row in one.confusion] != [sum(row) for row in other.confusion]:
            raise EvaluationError(f"case {one.id}: the sets were held against different references. Evaluate both again.")


def _only_in(evaluation: Evaluation, other: Evaluation) -> list[str]:
    ids = sorted({case.id for case in evaluation.cases} - {case.id for case in other.cases})
    return [f"only in {evaluation.predictions}: {listed(ids)}"] if ids else []


def _sorted_like(evaluation: Evaluation, order: Evaluation) -> list[CaseScores]:
    found = {case.id: case for case in evaluation.cases}
    return [found[case.id] for case in order.cases]


def _differences(
    first: Sequence[Mapping[str, Scores]], second: Sequence[Mapping[str, Scores]], metrics: Sequence[str]
) -> dict[str, Differences]:
    structures = list(first[0]) if first else []
    found: dict[str, Differences] = {name: {} for name in structures}
    for metric in metrics:
        pairs = [
            [(a[name].metrics[metric], b[name].metrics[metric]) for a, b in zip(first, second, strict=True)]
            for name in structures
        ]
        differences = [_difference(pair) for pair in pairs]
        for name, difference, corrected in zip(structures, differences, holm([d.p for d in differences]), strict=True):
            found[name][metric] = difference.model_copy(update={"corrected_p": corrected})
    return found


def _difference(pairs: Sequence[tuple[float | None, float | None]]) -> Difference:
    from scipy.stats import wilcoxon

    values = np.array([pair for pair in pairs if None not in pair], dtype=np.float64).reshape(-1, 2)
    change = values[:, 1] - values[:, 0]
    low, high = interval(resampled_means(change[:, None])[:, 0]) if len(change) > 1 else (None, None)
    means = values.mean(axis=0).tolist() if len(change) else [None, None]
    return Difference(
        pairs=len(change),
        undefined=len(pairs) - len(change),
        first=means[0],
        second=means[1],
        difference=float(change.mean()) if len(change) else None,
        low=low,
        high=high,
        p=float(wilcoxon(change).pvalue) if np.any(change) else None,
        corrected_p=None,
    )
