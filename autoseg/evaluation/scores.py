"""Two label maps compared: the scores of one case."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.data.box import nonzero_box
from autoseg.data.image import Spacing
from autoseg.data.labels import LabelScheme
from autoseg.errors import EvaluationError, LabelError
from autoseg.evaluation.metrics import DEFAULT_METRICS, METRICS, Comparison, value_of
from autoseg.evaluation.overlap import confusion_matrix, counts_of
from autoseg.evaluation.settings import DEFAULT_SETTINGS, Settings
from autoseg.extend import resolve

Classes = NDArray[np.int16]


class Scores(BaseModel):
    """One structure in one case: voxel counts, and each metric's value or None where it is undefined."""

    model_config = FROZEN
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int
    metrics: dict[str, float | None]


class CaseScores(BaseModel):
    """One case: the scores of each region and of each foreground label, by name.

    `confusion` counts voxels by (label of the reference, label of the prediction), background first, without ignored ones.
    `accuracy` is the share of voxels with the right label; `mean_iou` the mean IoU of all labels that occur on either side,
    background included, None without a voxel.
    """

    model_config = FROZEN
    id: str
    regions: dict[str, Scores]
    labels: dict[str, Scores]
    confusion: tuple[tuple[int, ...], ...]
    accuracy: float | None
    mean_iou: float | None

    @property
    def structures(self) -> dict[str, Scores]:
        """The regions where the data set has some, else the labels."""
        return self.regions or self.labels

    @property
    def mean_dice(self) -> float | None:
        """The mean over the structures whose Dice is defined; None without one."""
        values = [value for scores in self.structures.values() if (value := scores.metrics.get("dice")) is not None]
        return sum(values) / len(values) if values else None


def evaluate_case(
    predicted: NDArray[np.integer],
    reference: NDArray[np.integer],
    *,
    case_id: str,
    scheme: LabelScheme,
    spacing_mm: Spacing,
    is_flat: bool = False,
    metrics: Sequence[str] = DEFAULT_METRICS,
    settings: Settings = DEFAULT_SETTINGS,
) -> CaseScores:
    """Scores of two label maps (z, y, x) that hold on-disk values on one grid.

    Voxels that the reference marks as ignored count nowhere. All overlap numbers come from one confusion matrix of the
    box that holds everything but background. Raises LabelError for a value that `scheme` does not declare, and for a
    prediction that holds the value for ignored voxels.
    """
    found, truth = _classes(predicted, reference, scheme=scheme)
    confusion = confusion_matrix(found, truth, classes=len(scheme.labels) + 1)
    confusion[0, 0] += reference.size - truth.size
    # What is ignored leaves the matrix and, as background in both maps, the surfaces.
    confusion = confusion[:-1, :-1]
    chosen = {name: resolve("metric", name, METRICS) for name in metrics}

    def scores(classes: tuple[int, ...]) -> Scores:
        inside = np.zeros(len(scheme.labels) + 1, dtype=bool)
        inside[list(classes)] = True
        masks = inside[found], inside[truth]
        box = nonzero_box(masks[0] | masks[1]) or (slice(0, 0),) * 3
        predicted, reference = (np.ascontiguousarray(mask[box]) for mask in masks)
        pair = Comparison(
            predicted,
            reference,
            counts=counts_of(confusion, classes),
            spacing_mm=spacing_mm,
            is_flat=is_flat,
            settings=settings,
        )
        return _scores(pair, metrics=chosen, case_id=case_id)

    classes = {region.name: scheme.classes_of(region) for region in scheme.regions}
    singles = {label.name: (index,) for index, label in enumerate(scheme.labels) if index > 0}
    # A region of one label has the label's scores.
    by_classes = {tuple(sorted(group)): scores(group) for group in dict.fromkeys((*classes.values(), *singles.values()))}
    overlaps = [counts_of(confusion, [index]).iou for index in range(len(scheme.labels))]
    occurring = [iou for iou in overlaps if iou is not None]
    return CaseScores(
        id=case_id,
        regions={name: by_classes[tuple(sorted(group))] for name, group in classes.items()},
        labels={name: by_classes[group] for name, group in singles.items()},
        confusion=tuple(tuple(map(int, row)) for row in confusion),
        accuracy=float(np.trace(confusion) / confusion.sum()) if confusion.sum() else None,
        mean_iou=sum(occurring) / len(occurring) if occurring else None,
    )


def _classes(
    predicted: NDArray[np.integer], reference: NDArray[np.integer], *, scheme: LabelScheme
) -> tuple[Classes, Classes]:
    """The classes of both maps in the box that holds all foreground; ignored voxels are marked in both."""
    background = scheme.labels[0].value
    box = nonzero_box((predicted != background) | (reference != background)) or (slice(0, 0),) * 3
    found = _encoded(predicted[box], scheme=scheme, what="prediction")
    truth = _encoded(reference[box], scheme=scheme, what="reference")
    if scheme.ignore_class is not None:
        if (found == scheme.ignore_class).any():
            raise LabelError(f"the prediction holds {scheme.ignore}, which marks voxels to ignore in references")
        found = np.where(truth == scheme.ignore_class, truth, found)
    return found, truth


def _encoded(values: NDArray[np.integer], *, scheme: LabelScheme, what: str) -> Classes:
    try:
        return scheme.encode(values)
    except LabelError as error:
        raise LabelError(f"the {what} holds an {error}") from error


def _scores(pair: Comparison, *, metrics: Mapping[str, Callable[[Comparison], float | None]], case_id: str) -> Scores:
    values = {name: value_of(metric, pair, name=name) for name, metric in metrics.items()}
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
        metrics=values,
    )
