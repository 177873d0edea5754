"""Where a region lies in the brain."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.data.box import nonzero_box
from autoseg.data.formats.itk import simpleitk
from autoseg.data.image import Spacing

Features = dict[str, float | None]

POSITION_NAMES = (
    "centroid_superior",
    "centroid_anterior",
    "centroid_right",
    "share_right",
    "midline_distance_mm",
    "depth_mm",
    "surface_distance_mm",
)


@dataclass(frozen=True, eq=False)
class Brain:
    """The brain in an image whose axes (z, y, x) point up, forward and right; `mask` is True inside, holes filled."""

    mask: NDArray[np.bool_]
    spacing_mm: Spacing

    @cached_property
    def centre_mm(self) -> NDArray[np.float64]:
        """The centroid (z, y, x); the midline is the plane through it, across the left-right axis."""
        return _centroid(self.mask, self.spacing_mm)

    @cached_property
    def half_extent_mm(self) -> NDArray[np.float64]:
        """Half the edges of the brain's box (z, y, x)."""
        box = nonzero_box(self.mask) or ()
        return np.array([(part.stop - part.start) / 2 for part in box]) * self.spacing_mm

    @cached_property
    def surface(self) -> Any:
        """A search tree over the voxels of the brain's surface, in mm."""
        from scipy.spatial import cKDTree

        return cKDTree(_surface_points(self.mask, self.spacing_mm))


def find_brain(voxels: NDArray[np.generic], *, spacing_mm: Spacing) -> Brain | None:
    """The brain in a skull-stripped image (channel, z, y, x): where any channel is not zero; None where nothing is."""
    sitk = simpleitk()
    mask = (voxels != 0).any(axis=0)
    if not mask.any():
        return None
    filled = sitk.BinaryFillhole(sitk.GetImageFromArray(mask.astype(np.uint8)), fullyConnected=False, foregroundValue=1)
    return Brain(sitk.GetArrayFromImage(filled).astype(bool), spacing_mm)


def position(mask: NDArray[np.bool_], brain: Brain) -> Features:
    """Position of a region (z, y, x), on the brain's grid: names as in `definitions.REGION_FEATURES`; None where empty."""
    if not mask.any():
        return dict.fromkeys(POSITION_NAMES)
    centroid = _centroid(mask, brain.spacing_mm)
    relative = (centroid - brain.centre_mm) / brain.half_extent_mm
    columns = np.flatnonzero(mask.any(axis=(0, 1)))
    per_column = mask.sum(axis=(0, 1))[columns]
    right = columns * brain.spacing_mm[2] > brain.centre_mm[2]
    nearest, _ = brain.surface.query(_surface_points(mask, brain.spacing_mm))
    values = (
        *relative,
        per_column[right].sum() / per_column.sum(),
        abs(centroid[2] - brain.centre_mm[2]),
        brain.surface.query(centroid)[0],
        nearest.min(),
    )
    return {name: float(value) for name, value in zip(POSITION_NAMES, values, strict=True)}


def _centroid(mask: NDArray[np.bool_], spacing_mm: Spacing) -> NDArray[np.float64]:
    total = mask.sum()
    sums = [np.arange(mask.shape[axis]) @ mask.sum(axis=others) for axis, others in enumerate(((1, 2), (0, 2), (0, 1)))]
    return np.asarray(np.array(sums) / total * spacing_mm)


def _surface_points(mask: NDArray[np.bool_], spacing_mm: Spacing) -> NDArray[np.float64]:
    """Positions in mm (n, 3) of the voxels with a face neighbour outside the mask."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for shift in (-1, 1):
            inner &= np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1]
    return np.asarray(np.argwhere(mask & ~inner) * np.array(spacing_mm))
