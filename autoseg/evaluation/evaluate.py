"""From two label maps to the scores of a case, and from the scores of many cases to a summary."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.data.image import Spacing
from autoseg.data.labels import LabelScheme
from autoseg.errors import EvaluationError, LabelError
from autoseg.evaluation.metrics import DEFAULT_METRICS, METRICS, Comparison
from autoseg.evaluation.overlap import confusion_matrix, counts_of
from autoseg.evaluation.surface import bounding_box
from autoseg.extend import resolve

EVALUATION_FORMAT = 1


class Scores(BaseModel):
    """One structure in one case: voxel counts, and each metric's value or None where it is undefined."""

    model_config = FROZEN
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int
    metrics: dict[str, float | None]


class CaseScores(BaseModel):
    """One case: the scores of each region and of each foreground label, by name."""

    model_config = FROZEN
    id: str
    regions: dict[str, Scores]
    labels: dict[str, Scores]


class Summary(BaseModel):
    """A metric over many values: only `counted` ones were defined and enter the mean.

    `mean` and `median` are None when nothing was counted, `sd` (n - 1 in the denominator) when less than two were.
    """

    model_config = FROZEN
    mean: float | None
    sd: float | None
    median: float | None
    counted: int
    undefined: int


Metrics = dict[str, Summary]
"""Summaries by the metric's name."""


class Evaluation(BaseModel):
    """How a set of predictions compares with its references.

    `regions` and `labels` summarise each structure over the cases; `foreground_regions` and `foreground_labels`
    summarise the means of these structures, so that `mean` there is the mean over structures and `undefined` the number
    of structures without a mean. `extra` are predictions without a reference, `missing` references without a prediction
    that were left out because the user asked for it. `made_from` maps "labels" to the digest of the label scheme.
    """

    model_config = FROZEN
    format: int = EVALUATION_FORMAT
    predictions: str
    references: str
    scheme: LabelScheme
    metrics: tuple[str, ...]
    cases: tuple[CaseScores, ...]
    regions: dict[str, Metrics]
    labels: dict[str, Metrics]
    foreground_regions: Metrics
    foreground_labels: Metrics
    extra: tuple[str, ...]
    missing: tuple[str, ...]
    made_from: dict[str, str]


def evaluate_case(
    predicted: NDArray[np.integer],
    reference: NDArray[np.integer],
    *,
    case_id: str,
    scheme: LabelScheme,
    spacing_mm: Spacing,
    is_flat: bool = False,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> CaseScores:
    """Scores of two label maps (z, y, x) that hold on-disk values on one grid.

    Voxels that the reference marks as ignored count nowhere. All overlap numbers come from one confusion matrix of the
    box that holds everything but background. Raises LabelError for a value that `scheme` does not declare, and for a
    prediction that holds the value for ignored voxels.
    """
    background = scheme.labels[0].value
    box = bounding_box((predicted != background) | (reference != background))
    found = _encoded(predicted[box], scheme=scheme, what="prediction")
    truth = _encoded(reference[box], scheme=scheme, what="reference")
    if scheme.ignore_class is not None:
        if (found == scheme.ignore_class).any():
            raise LabelError(f"the prediction holds {scheme.ignore}, which marks voxels to ignore in references")
        found = np.where(truth == scheme.ignore_class, truth, found)
    confusion = confusion_matrix(found, truth, classes=len(scheme.labels) + 1)
    confusion[0, 0] += reference.size - truth.size
    # What is ignored leaves the matrix and, as background in both maps, the surfaces.
    confusion = confusion[:-1, :-1]

    def scores(classes: tuple[int, ...]) -> Scores:
        inside = np.zeros(len(scheme.labels) + 1, dtype=bool)
        inside[list(classes)] = True
        counts = counts_of(confusion, classes)
        pair = Comparison(inside[found], inside[truth], counts=counts, spacing_mm=spacing_mm, is_flat=is_flat)
        return _scores(pair, metrics=metrics, case_id=case_id)

    regions = {region.name: scores(scheme.classes_of(region)) for region in scheme.regions}
    labels = {label.name: scores((index,)) for index, label in enumerate(scheme.labels) if index > 0}
    return CaseScores(id=case_id, regions=regions, labels=labels)


def summarise(cases: Sequence[Mapping[str, Scores]]) -> dict[str, Metrics]:
    """Each structure's metrics over `cases`, which are the `regions` or the `labels` of each case."""
    structures = list(cases[0]) if cases else []
    return {
        name: {metric: summary([case[name].metrics[metric] for case in cases]) for metric in cases[0][name].metrics}
        for name in structures
    }


def over_foreground(structures: Mapping[str, Metrics]) -> Metrics:
    """The means of all structures, summarised for each metric."""
    first = next(iter(structures.values()), {})
    return {metric: summary([means[metric].mean for means in structures.values()]) for metric in first}


def summary(values: Sequence[float | None]) -> Summary:
    """Mean, deviation and median of the values that are not None, and how many there are of each sort."""
    counted = np.array([value for value in values if value is not None], dtype=np.float64)
    return Summary(
        mean=float(counted.mean()) if counted.size else None,
        sd=float(counted.std(ddof=1)) if counted.size > 1 else None,
        median=float(np.median(counted)) if counted.size else None,
        counted=counted.size,
        undefined=len(values) - counted.size,
    )


def _encoded(values: NDArray[np.integer], *, scheme: LabelScheme, what: str) -> NDArray[np.int16]:
    try:
        return scheme.encode(values)
    except LabelError as error:
        raise LabelError(f"the {what} holds an {error}") from error


def _scores(pair: Comparison, *, metrics: Sequence[str], case_id: str) -> Scores:
    values = {name: resolve("metric", name, METRICS)(pair) for name in metrics}
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise EvaluationError(
                f"case {case_id}: metric {name!r} gave {value}. It must give a number, or None for undefined."
            )
    return Scores(
        true_positive=pair.counts.true_positive,
        false_positive=pair.counts.false_positive,
        false_negative=pair.counts.false_negative,
        true_negative=pair.counts.true_negative,
        metrics={name: None if value is None else float(value) for name, value in values.items()},
    )
