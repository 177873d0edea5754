"""How many voxels two masks share, and the ratios made of these counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Counts:
    """Voxels of a structure found rightly, found wrongly, missed, and rightly left out.

    Ratios are None where their denominator is zero: nothing can be said then, and 0 or 1 would be luck.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def predicted(self) -> int:
        """Voxels of the structure in the prediction."""
        return self.true_positive + self.false_positive

    @property
    def reference(self) -> int:
        """Voxels of the structure in the reference."""
        return self.true_positive + self.false_negative

    @property
    def dice(self) -> float | None:
        """2 TP / (2 TP + FP + FN), 0 to 1; None when both masks are empty."""
        return _ratio(2 * self.true_positive, self.predicted + self.reference)

    @property
    def iou(self) -> float | None:
        """TP / (TP + FP + FN), 0 to 1; None when both masks are empty."""
        return _ratio(self.true_positive, self.predicted + self.false_negative)

    @property
    def accuracy(self) -> float | None:
        """(TP + TN) / all voxels, 0 to 1: near 1 for any small structure; None without a voxel."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def sensitivity(self) -> float | None:
        """TP / (TP + FN), the share of the reference that was found; None when the reference is empty."""
        return _ratio(self.true_positive, self.reference)

    @property
    def specificity(self) -> float | None:
        """TN / (TN + FP), the share of the rest that was left out; None when the reference fills the image."""
        return _ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP), the share of the prediction that is right; None when the prediction is empty."""
        return _ratio(self.true_positive, self.predicted)


def confusion_matrix(predicted: NDArray[np.integer], reference: NDArray[np.integer], *, classes: int) -> NDArray[np.int64]:
    """Voxels of each pair of classes, (reference class, predicted class); both maps hold 0 to `classes` - 1."""
    pairs = reference.ravel().astype(np.intp) * classes + predicted.ravel()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def counts_of(confusion: NDArray[np.int64], classes: Sequence[int]) -> Counts:
    """The counts of the structure that consists of `classes`, from a `confusion_matrix`."""
    inside = np.zeros(len(confusion), dtype=bool)
    inside[list(classes)] = True
    return Counts(
        true_positive=int(confusion[inside][:, inside].sum()),
        false_positive=int(confusion[~inside][:, inside].sum()),
        false_negative=int(confusion[inside][:, ~inside].sum()),
        true_negative=int(confusion[~inside][:, ~inside].sum()),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
