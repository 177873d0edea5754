"""What a user can choose about an evaluation: the tolerance, the lesion rule, and what stands for undefined values."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN
from autoseg.evaluation.lesions import LESION_RULES, LesionRule

Kind = Literal["overlap", "distance", "volume"]


class Convention(BaseModel):
    """What a metric is worth where it is undefined: None leaves it undefined and out of the mean.

    `_nothing` is for a structure that is neither in the prediction nor in the reference, `_one_sided` for one that is in
    one of them only. Overlap metrics run from 0 to 1, distances are in mm; volumes are never replaced.
    """

    model_config = FROZEN
    overlap_nothing: float | None = None
    overlap_one_sided: float | None = None
    distance_nothing_mm: float | None = None
    distance_one_sided_mm: float | None = None

    def value(self, kind: Kind, *, is_nothing: bool) -> float | None:
        """What stands for an undefined metric of this kind."""
        if kind == "overlap":
            return self.overlap_nothing if is_nothing else self.overlap_one_sided
        if kind == "distance":
            return self.distance_nothing_mm if is_nothing else self.distance_one_sided_mm
        return None


def _challenge(penalty_mm: float) -> Convention:
    return Convention(overlap_nothing=1.0, overlap_one_sided=0.0, distance_nothing_mm=0.0, distance_one_sided_mm=penalty_mm)


CONVENTIONS: Mapping[str, Convention] = {
    "none": Convention(),
    "brats2020": _challenge(373.13),
    "brats2023": _challenge(374.0),
}
"""What stands for undefined values, by name: nothing, or what the BraTS challenge puts there.

Source: 373.13 mm is the diagonal of 240 x 240 x 155 mm, used until 2022; 374 mm is in the organisers' post on the metrics
of 2023. Both give 1 and 0 mm where a structure is absent from both sides, 0 and the penalty where it is absent from one.
"""


class Settings(BaseModel):
    """How metrics are computed. `tolerance_mm` is that of the normalised surface distance.

    No source gives one tolerance for all: 1 mm is about the width of a voxel; take the difference between two raters.
    """

    model_config = FROZEN
    tolerance_mm: float = Field(default=1.0, ge=0)
    lesions: LesionRule = LESION_RULES["gli"]
    undefined: Convention = CONVENTIONS["none"]


DEFAULT_SETTINGS = Settings()
