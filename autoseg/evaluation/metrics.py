"""The numbers that compare one structure in a prediction and in a reference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from autoseg.data.image import Spacing
from autoseg.evaluation.lesions import Lesions, LesionScores
from autoseg.evaluation.overlap import Counts
from autoseg.evaluation.settings import DEFAULT_SETTINGS, Kind, Settings
from autoseg.evaluation.surface import Mask, SurfaceDistances, surface_distances
from autoseg.evaluation.surface_area import surface_dice


@dataclass(frozen=True, eq=False)
class Comparison:
    """One structure of one case: its two masks (z, y, x) and what metrics share.

    The masks may be cut to a box that holds both; `counts` are those of the whole image. `spacing_mm` is (z, y, x);
    `is_flat` marks an image of one slice, whose distance to the next one means nothing.
    """

    predicted: Mask
    reference: Mask
    counts: Counts
    spacing_mm: Spacing
    is_flat: bool = False
    settings: Settings = DEFAULT_SETTINGS

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Distances between the two surfaces, computed once for all metrics."""
        return surface_distances(self.predicted, self.reference, spacing_mm=self.spacing_mm, is_flat=self.is_flat)

    @cached_property
    def surface_dice(self) -> float | None:
        """The share of both surfaces within the tolerance of the other."""
        return surface_dice(
            self.predicted,
            self.reference,
            spacing_mm=self.spacing_mm,
            is_flat=self.is_flat,
            tolerance_mm=self.settings.tolerance_mm,
        )

    @cached_property
    def lesions_2023(self) -> LesionScores:
        """Scores of single lesions by the rule of 2023."""
        return self._lesions.by_dilation(self.settings.lesions)

    @cached_property
    def lesions_2026(self) -> LesionScores:
        """Scores of single lesions by the rule of 2026."""
        return self._lesions.by_matching(self.settings.lesions)

    @cached_property
    def _lesions(self) -> Lesions:
        return Lesions(
            predicted=self.predicted,
            reference=self.reference,
            spacing_mm=self.spacing_mm,
            is_flat=self.is_flat,
            whole=self.distances,
        )

    def volume_ml(self, voxels: int) -> float | None:
        """The volume of so many voxels; None in a flat image, which has none."""
        return None if self.is_flat else voxels * float(np.prod(self.spacing_mm)) / 1000


Metric = Callable[[Comparison], float | None]
"""A number for one structure of one case; None where it is undefined (never NaN, never infinity)."""

METRICS: Mapping[str, Metric] = {
    "dice": lambda structure: structure.counts.dice,
    "iou": lambda structure: structure.counts.iou,
    "accuracy": lambda structure: structure.counts.accuracy,
    "sensitivity": lambda structure: structure.counts.sensitivity,
    "specificity": lambda structure: structure.counts.specificity,
    "precision": lambda structure: structure.counts.precision,
    "nsd": lambda structure: structure.surface_dice,
    "hd_mm": lambda structure: structure.distances.hausdorff(100),
    "hd95_mm": lambda structure: structure.distances.hausdorff(95),
    "assd_mm": lambda structure: structure.distances.average(),
    "predicted_ml": lambda structure: structure.volume_ml(structure.counts.predicted),
    "reference_ml": lambda structure: structure.volume_ml(structure.counts.reference),
    "difference_ml": lambda structure: structure.volume_ml(structure.counts.predicted - structure.counts.reference),
    "lesion_dice_2023": lambda structure: structure.lesions_2023.dice,
    "lesion_hd95_2023_mm": lambda structure: structure.lesions_2023.hd95_mm,
    "lesion_f1_2023": lambda structure: structure.lesions_2023.f1,
    "lesion_dice_2026": lambda structure: structure.lesions_2026.dice,
    "lesion_hd95_2026_mm": lambda structure: structure.lesions_2026.hd95_mm,
    "lesion_f1_2026": lambda structure: structure.lesions_2026.f1,
}
"""What can be computed, by name; others are named `package.module:function`."""

DEFAULT_METRICS = tuple(METRICS)


@dataclass(frozen=True)
class About:
    """How a metric is shown and read: `better` is None where neither more nor less of it is good."""

    heading: str
    kind: Kind
    better: Literal["high", "low"] | None

    @property
    def decimals(self) -> int:
        """Decimals that tables show."""
        return 3 if self.kind == "overlap" else 2 if self.kind == "distance" else 1


ABOUT: Mapping[str, About] = {
    "dice": About("Dice", "overlap", "high"),
    "iou": About("IoU", "overlap", "high"),
    "accuracy": About("Acc.", "overlap", "high"),
    "sensitivity": About("Sens.", "overlap", "high"),
    "specificity": About("Spec.", "overlap", "high"),
    "precision": About("Prec.", "overlap", "high"),
    "nsd": About("NSD", "overlap", "high"),
    "hd_mm": About("HD mm", "distance", "low"),
    "hd95_mm": About("HD95 mm", "distance", "low"),
    "assd_mm": About("ASSD mm", "distance", "low"),
    "predicted_ml": About("Pred. ml", "volume", None),
    "reference_ml": About("Ref. ml", "volume", None),
    "difference_ml": About("Diff. ml", "volume", None),
    "lesion_dice_2023": About("Lesion Dice 2023", "overlap", "high"),
    "lesion_hd95_2023_mm": About("Lesion HD95 2023 mm", "distance", "low"),
    "lesion_f1_2023": About("Lesion F1 2023", "overlap", "high"),
    "lesion_dice_2026": About("Lesion Dice 2026", "overlap", "high"),
    "lesion_hd95_2026_mm": About("Lesion HD95 2026 mm", "distance", "low"),
    "lesion_f1_2026": About("Lesion F1 2026", "overlap", "high"),
}


def about(metric: str) -> About:
    """How to show `metric`; one of a third party appears under its own name and is never replaced where undefined."""
    return ABOUT.get(metric) or About(metric.rpartition(":")[2], "volume", None)


def value_of(metric: Metric, structure: Comparison, *, name: str) -> float | None:
    """The metric, or what the evaluation's convention puts in its place where it is undefined.

    A rule of 2023 that counts no lesion at all found nothing to count, even where there are small ones.
    """
    value = metric(structure)
    if value is not None:
        return float(value)
    is_nothing = structure.counts.predicted + structure.counts.reference == 0 or (
        name.startswith("lesion_") and "2023" in name
    )
    return structure.settings.undefined.value(about(name).kind, is_nothing=is_nothing)
