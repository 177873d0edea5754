"""Made-up facts for planning."""

from typing import Any

from autoseg.data.labels import Label, LabelScheme
from autoseg.fingerprint.statistics import IntensityStatistics
from autoseg.planning.facts import Facts

STATISTICS = IntensityStatistics(
    mean=50.0, median=40.0, deviation=20.0, lowest=-1000.0, highest=900.0, percentile_00_5=-80.0, percentile_99_5=200.0
)


def scheme(*names: str) -> LabelScheme:
    """Background and these labels, numbered from 1."""
    labels = [Label(name=name, value=value) for value, name in enumerate(("background", *names))]
    return LabelScheme(labels=tuple(labels))


def brain(**changes: Any) -> Facts:
    """Twenty brains of 1 mm, cropped to a third of the volume."""
    values: dict[str, Any] = {
        "dataset": "Brain",
        "channels": ("T1",),
        "labels": scheme("tumour"),
        "file_ending": ".nii.gz",
        "spacings_mm": ((1.0, 1.0, 1.0),) * 20,
        "shapes": ((138, 169, 138),) * 20,
        "relative_size": 0.36,
        "intensities": (STATISTICS,),
        "training_cases": 20,
        "orientation": "RAS",
    }
    return Facts(**{**values, **changes})


def prostate(**changes: Any) -> Facts:
    """Twelve scans with few thick slices."""
    shared = {"spacings_mm": ((3.6, 0.625, 0.625),) * 12, "shapes": ((20, 320, 320),) * 12, "relative_size": 1.0}
    return brain(**{**shared, "training_cases": 12, **changes})


def pictures(**changes: Any) -> Facts:
    """Forty 2-D pictures."""
    shared = {"spacings_mm": ((999.0, 1.0, 1.0),) * 40, "shapes": ((1, 256, 256),) * 40, "relative_size": 1.0}
    return brain(**{**shared, "training_cases": 40, "orientation": None, **changes})
