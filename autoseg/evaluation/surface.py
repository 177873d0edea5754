"""Distances in millimetres between the surfaces of two masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoseg.data.box import nonzero_box
from autoseg.evaluation.nearest import nearest_mm

Mask = NDArray[np.bool_]
"""A structure, (z, y, x)."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """From each surface voxel of one mask to the nearest surface voxel of the other, in mm; empty with an empty mask.

    The surface voxels of a mask are those with at least one neighbour across a face outside it; beyond the border of the
    image is outside. A distance runs from voxel centre to voxel centre.
    """

    from_prediction: NDArray[np.float64]
    from_reference: NDArray[np.float64]

    @property
    def exist(self) -> bool:
        """Whether both masks have a surface."""
        return self.from_prediction.size > 0 and self.from_reference.size > 0

    def hausdorff(self, percentile: float) -> float | None:
        """The larger of the two directed `percentile`s in mm; None when a mask is empty.

        100 is the Hausdorff distance and 95 is HD95 as the BraTS challenge and Metrics Reloaded (Maier-Hein, Reinke et
        al., Nature Methods 21, 2024) define it. Tools that pool both directions before taking the percentile report smaller
        numbers where the two differ. Percentiles between two distances are interpolated linearly.
        """
        if not self.exist:
            return None
        return float(max(np.percentile(self.from_prediction, percentile), np.percentile(self.from_reference, percentile)))

    def average(self) -> float | None:
        """The average symmetric surface distance (ASSD) in mm: the mean over the surface voxels of both masks.

        None when a mask is empty. Source: Metrics Reloaded (Nature Methods 21, 2024). Tools that average the two directed
        means instead differ where one surface is much larger.
        """
        if not self.exist:
            return None
        total = self.from_prediction.sum() + self.from_reference.sum()
        return float(total / (self.from_prediction.size + self.from_reference.size))


def surface_distances(predicted: Mask, reference: Mask, *, spacing_mm: Sequence[float], is_flat: bool) -> SurfaceDistances:
    """Both directed sets of surface distances of two masks on one grid.

    In a flat image (one slice) the neighbours above and below a voxel do not count as outside. Cost grows with the number
    of surface voxels and the box around both masks, not with the size of the image.
    """
    if not (predicted.any() and reference.any()):
        return SurfaceDistances(np.empty(0), np.empty(0))
    box = nonzero_box(predicted | reference)
    own, other = (surface(mask[box], is_flat=is_flat) for mask in (predicted, reference))
    return SurfaceDistances(
        from_prediction=nearest_mm(own, other, spacing_mm=spacing_mm),
        from_reference=nearest_mm(other, own, spacing_mm=spacing_mm),
    )


def surface(mask: Mask, *, is_flat: bool) -> Mask:
    """The surface voxels of `mask`, as a mask."""
    inner = mask.copy()
    for axis in range(1 if is_flat else 0, mask.ndim):
        along, source = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        along[1:] &= source[:-1]
        along[:-1] &= source[1:]
        along[[0, -1]] = False
    outer: Mask = mask & ~inner
    return outer
