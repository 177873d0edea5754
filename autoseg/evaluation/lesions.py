"""Scores of single lesions by the rules of the BraTS challenges of 2023 and 2026."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN
from autoseg.data.box import Box, around
from autoseg.evaluation.surface import Mask, SurfaceDistances, surface_distances


class LesionRule(BaseModel):
    """The numbers of a challenge.

    2023: references whose masks touch after `dilation` steps are one lesion, lesions under `minimum_voxels` do not count,
    and a lesion that was missed or made up has Dice 0 and `penalty_mm`. 2026: a pair needs a Dice of at least `least_dice`,
    one whose reference has fewer than `small_voxels` at least `small_dice`.
    """

    model_config = FROZEN
    dilation: int = Field(default=3, ge=0)
    minimum_voxels: int = Field(default=50, ge=0)
    penalty_mm: float = Field(default=374.0, ge=0)
    least_dice: float = Field(default=1e-6, gt=0, le=1)
    small_voxels: int = Field(default=0, ge=0)
    small_dice: float = Field(default=1e-6, gt=0, le=1)


LESION_RULES: Mapping[str, LesionRule] = {
    "gli": LesionRule(),
    "ssa": LesionRule(),
    "ped": LesionRule(),
    "men": LesionRule(dilation=1),
    "met": LesionRule(dilation=1, minimum_voxels=2, small_voxels=20, small_dice=0.1),
}
"""Challenges by name: glioma, glioma in Sub-Saharan Africa, paediatric tumours, meningioma, metastases.

Sources: dilation, minimum size and penalties are those of the organisers' post on the metrics of 2023; the Dice of a pair
is that of their package `BraTS-evaluation` 0.0.10 of 2026, small lesions as in the example of its manual.
"""


@dataclass(frozen=True)
class LesionScores:
    """Lesions of one structure in one case: how many were found, made up and missed, and how well.

    `dice` and `hd95_mm` are None where nothing counts: no lesion on either side (2023), or no pair (2026, distance).
    """

    true_positive: int
    false_positive: int
    false_negative: int
    dice: float | None
    hd95_mm: float | None

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN), 0 to 1; None without a lesion on either side."""
        whole = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / whole if whole else None


@dataclass(frozen=True, eq=False)
class Parts:
    """A mask (z, y, x) split into parts: each voxel's part, 1 and up (0 outside), with the size and box of each part."""

    numbers: NDArray[np.int32]
    sizes: NDArray[np.intp]
    boxes: Sequence[Box]

    @property
    def count(self) -> int:
        """How many parts there are."""
        return len(self.sizes)


@dataclass(frozen=True, eq=False)
class Lesions:
    """The lesions of two masks (z, y, x) on one grid: components of voxels that touch, even by a corner.

    `whole` are the distances between the surfaces of the two masks, for lesions that are all there is.
    """

    predicted: Mask
    reference: Mask
    spacing_mm: Sequence[float]
    is_flat: bool
    whole: SurfaceDistances

    def by_dilation(self, rule: LesionRule) -> LesionScores:
        """The rule of 2023: references that lie close are one lesion, compared with all predictions that come near it.

        `dice` is the mean over the lesions of the reference that are large enough and over the predictions that come near
        none, which have 0, like lesions that were missed; `hd95_mm` alike with the rule's penalty.
        """
        grown, lesions = _labelled(_dilated(self.reference, steps=rule.dilation))
        merged, found = _parts(np.where(self.reference, grown, 0), count=lesions), self._found
        # A prediction belongs to each lesion whose dilated mask it enters.
        enters = _shared(grown, found.numbers, rows=lesions, columns=found.count) > 0
        counted = np.flatnonzero(merged.sizes >= rule.minimum_voxels).tolist()
        pairs = [self._scores(merged, lesion, found, np.flatnonzero(enters[lesion]).tolist()) for lesion in counted]
        hit = [pair for pair in pairs if pair is not None]
        missed, invented = len(pairs) - len(hit), int(np.count_nonzero(~enters.any(axis=0)))
        entries = len(pairs) + invented
        return LesionScores(
            true_positive=len(hit),
            false_positive=invented,
            false_negative=missed,
            dice=sum(dice for dice, _ in hit) / entries if entries else None,
            hd95_mm=(sum(hd95 for _, hd95 in hit) + rule.penalty_mm * (missed + invented)) / entries if entries else None,
        )

    def by_matching(self, rule: LesionRule) -> LesionScores:
        """The rule of 2026: components are paired one to one so that the sum of their Dice is as large as can be.

        `dice` is the mean over pairs and over what stays unpaired on either side, which has 0; `hd95_mm` the mean over
        pairs alone, as it is infinite for the rest.
        """
        from scipy.optimize import linear_sum_assignment

        truth, found = _parts(*_labelled(self.reference)), self._found
        shared = _shared(truth.numbers, found.numbers, rows=truth.count, columns=found.count)
        dice = 2 * shared / (truth.sizes[:, None] + found.sizes[None, :])
        least = np.where(truth.sizes < rule.small_voxels, rule.small_dice, rule.least_dice)
        dice[dice < least[:, None]] = 0
        pairs = [pair for pair in zip(*linear_sum_assignment(dice, maximize=True), strict=True) if dice[pair] > 0]
        scores = [self._scores(truth, lesion, found, [part]) for lesion, part in pairs]
        distances = [score[1] for score in scores if score is not None]
        entries = truth.count + found.count - len(pairs)
        return LesionScores(
            true_positive=len(pairs),
            false_positive=found.count - len(pairs),
            false_negative=truth.count - len(pairs),
            dice=float(sum(dice[pair] for pair in pairs)) / entries if entries else None,
            hd95_mm=sum(distances) / len(distances) if distances else None,
        )

    def _distances(self, predicted: Mask, reference: Mask) -> SurfaceDistances:
        return surface_distances(predicted, reference, spacing_mm=self.spacing_mm, is_flat=self.is_flat)

    @cached_property
    def _found(self) -> Parts:
        return _parts(*_labelled(self.predicted))

    def _scores(self, truth: Parts, lesion: int, found: Parts, parts: Sequence[int]) -> tuple[float, float] | None:
        """Dice and HD95 in mm of a lesion and the `parts` of the prediction together; None without a part."""
        if not len(parts):
            return None
        is_all = truth.sizes[lesion] == truth.sizes.sum() and found.sizes[parts].sum() == found.sizes.sum()
        box = truth.boxes[lesion]
        for part in parts:
            box = around(box, found.boxes[part]) or box
        reference = truth.numbers[box] == lesion + 1
        chosen = np.zeros(found.count + 1, dtype=bool)
        chosen[np.asarray(parts) + 1] = True
        predicted = chosen[found.numbers[box]]
        dice = 2 * np.count_nonzero(predicted & reference) / (found.sizes[parts].sum() + truth.sizes[lesion])
        distances = self.whole if is_all else self._distances(predicted, reference)
        hd95 = distances.hausdorff(95)
        assert hd95 is not None, "both hold voxels"
        return float(dice), hd95


def _labelled(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """The number of each voxel's component, 1 and up, and how many there are."""
    from scipy.ndimage import label

    found, count = label(mask, np.ones((3, 3, 3), dtype=bool))
    return found, int(count)


def _parts(numbers: NDArray[np.int32], count: int) -> Parts:
    from scipy.ndimage import find_objects

    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    return Parts(numbers=numbers, sizes=sizes, boxes=find_objects(numbers, count) if count else [])


def _dilated(mask: Mask, *, steps: int) -> Mask:
    """The mask grown `steps` times by all neighbours that share a face or an edge.

    What grows beyond the grid is not needed: two lesions that meet there meet at its border too.
    """
    for _ in range(steps):
        x, y = _spread(mask, axis=2), _spread(mask, axis=1)
        # The neighbours in each of the three planes through a voxel.
        mask = _spread(x, axis=1) | _spread(x, axis=0) | _spread(y, axis=0)
    return mask


def _spread(mask: Mask, *, axis: int) -> Mask:
    wider: Mask = mask.copy()
    along, source = np.moveaxis(wider, axis, 0), np.moveaxis(mask, axis, 0)
    along[1:] |= source[:-1]
    along[:-1] |= source[1:]
    return wider


def _shared(first: NDArray[np.int32], second: NDArray[np.int32], *, rows: int, columns: int) -> NDArray[np.intp]:
    """How many voxels each part of the one shares with each part of the other, (rows, columns)."""
    both = (first > 0) & (second > 0)
    pairs = (first[both].astype(np.intp) - 1) * columns + second[both] - 1
    return np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)
