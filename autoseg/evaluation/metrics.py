"""The numbers that compare one structure in a prediction and in a reference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoseg.data.image import Spacing
from autoseg.evaluation.overlap import Counts
from autoseg.evaluation.surface import Mask, SurfaceDistances, surface_distances


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

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Distances between the two surfaces, computed once for all metrics."""
        return surface_distances(self.predicted, self.reference, spacing_mm=self.spacing_mm, is_flat=self.is_flat)

    def volume_ml(self, voxels: int) -> float | None:
        """The volume of so many voxels; None in a flat image, which has none."""
        return None if self.is_flat else voxels * float(np.prod(self.spacing_mm)) / 1000


Metric = Callable[[Comparison], float | None]
"""A number for one structure of one case; None where it is undefined (never NaN, never infinity)."""

METRICS: Mapping[str, Metric] = {
    "dice": lambda structure: structure.counts.dice,
    "iou": lambda structure: structure.counts.iou,
    "sensitivity": lambda structure: structure.counts.sensitivity,
    "specificity": lambda structure: structure.counts.specificity,
    "precision": lambda structure: structure.counts.precision,
    "hd95_mm": lambda structure: structure.distances.hausdorff(95),
    "predicted_ml": lambda structure: structure.volume_ml(structure.counts.predicted),
    "reference_ml": lambda structure: structure.volume_ml(structure.counts.reference),
}
"""What can be computed, by name; others are named `package.module:function`."""

DEFAULT_METRICS = tuple(METRICS)
