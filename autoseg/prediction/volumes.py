"""How much of each structure a segmentation holds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoseg.data.image import Geometry
from autoseg.data.labels import LabelScheme


def volumes_ml(labels: NDArray[np.integer], scheme: LabelScheme, geometry: Geometry) -> dict[str, float]:
    """Volume in ml of each foreground label and region in a map of on-disk values (z, y, x); empty for pictures."""
    if geometry.is_flat:
        return {}
    voxel_ml = float(np.prod(geometry.spacing_mm)) / 1000
    counts = _counts(labels, [label.value for label in scheme.foreground])
    found = {label.name: counts[label.value] * voxel_ml for label in scheme.foreground}
    regions = {region.name: sum(counts[value] for value in region.values) * voxel_ml for region in scheme.regions}
    return {name: round(volume, 4) for name, volume in (found | regions).items()}


def _counts(labels: NDArray[np.integer], values: Sequence[int]) -> dict[int, int]:
    """How many voxels have each of the values."""
    if labels.dtype != np.uint8:
        return {value: int(np.count_nonzero(labels == value)) for value in values}
    found = sum((np.bincount(layer.ravel(), minlength=256) for layer in labels), start=np.zeros(256, dtype=np.int64))
    return {value: int(found[value]) for value in values}
