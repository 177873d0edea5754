"""Distances in millimetres between the surfaces of two masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def surface_distances(predicted: Mask, reference: Mask, *, spacing_mm: Sequence[float], is_flat: bool) -> SurfaceDistances:
    """Both directed sets of surface distances of two masks on one grid.

    In a flat image (one slice) the neighbours above and below a voxel do not count as outside. Cost grows with the number
    of surface voxels, not with the size of the image: a tree of the one surface is asked for each voxel of the other.
    """
    from scipy.spatial import KDTree

    if not (predicted.any() and reference.any()):
        return SurfaceDistances(np.empty(0), np.empty(0))
    box = bounding_box(predicted | reference)
    surfaces = [surface(mask[box], is_flat=is_flat) for mask in (predicted, reference)]
    points = [np.argwhere(mask) * np.asarray(spacing_mm, dtype=np.float64) for mask in surfaces]
    shared = surfaces[0] & surfaces[1]
    directed = []
    for own, other in ((0, 1), (1, 0)):
        distances = np.zeros(len(points[own]))
        apart = ~shared[surfaces[own]]  # voxels on both surfaces are at distance 0 and need no search
        if apart.any():
            # Unbalanced, uncompacted trees build several times faster and answer as fast on surfaces.
            tree = KDTree(points[other], balanced_tree=False, compact_nodes=False)
            distances[apart] = tree.query(points[own][apart])[0]
        directed.append(distances)
    return SurfaceDistances(*directed)


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


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box that holds every true voxel; of no voxels if there is none."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0))
    return tuple(box)
