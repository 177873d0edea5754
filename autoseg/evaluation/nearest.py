"""How far the voxels of one set are from the nearest of another, in millimetres."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

REACH = 2
"""Voxels along each axis within which neighbours are looked up; what is farther apart asks a search tree."""


def nearest_mm(
    own: NDArray[np.bool_], other: NDArray[np.bool_], *, spacing_mm: Sequence[float], within_mm: float = np.inf
) -> NDArray[np.float64]:
    """For each true voxel of `own`, in C order, the distance in mm to the nearest true voxel of `other`.

    Both are masks on one grid of any dimension; distances run between voxel centres. Infinite where `other` has no voxel
    within `within_mm`. Surfaces that are compared mostly lie a voxel or two apart: those neighbours are looked up in order
    of distance, and only the voxels that find none ask a search tree.
    """
    flat = np.pad(other, REACH).ravel()
    padded = np.pad(own, REACH)
    steps = np.array([int(np.prod(padded.shape[axis + 1 :])) for axis in range(own.ndim)])
    positions = np.flatnonzero(padded)
    offsets, lengths = _neighbours(tuple(map(float, spacing_mm)))
    distances = np.full(len(positions), np.inf)
    left = np.arange(len(positions))
    for step, length in zip(offsets @ steps, lengths, strict=True):
        if length > within_mm or not len(left):
            break
        hit = flat[positions[left] + step]
        distances[left[hit]] = length
        left = left[~hit]
    if len(left) and within_mm > lengths[-1] and flat.any():
        distances[left] = _ask_tree(own, other, chosen=left, spacing_mm=spacing_mm, within_mm=within_mm)
    return distances


def _ask_tree(
    own: NDArray[np.bool_],
    other: NDArray[np.bool_],
    *,
    chosen: NDArray[np.intp],
    spacing_mm: Sequence[float],
    within_mm: float,
) -> NDArray[np.float64]:
    from scipy.spatial import KDTree

    spacing = np.asarray(spacing_mm, dtype=np.float64)
    # Unbalanced, uncompacted trees build several times faster and answer as fast on surfaces.
    tree = KDTree(np.argwhere(other) * spacing, balanced_tree=False, compact_nodes=False)
    # The bound is exclusive, and coordinates are rounded.
    bound = np.nextafter(within_mm, np.inf) * (1 + 1e-12)
    found: NDArray[np.float64] = tree.query(np.argwhere(own)[chosen] * spacing, distance_upper_bound=bound)[0]
    return found


@lru_cache(maxsize=64)
def _neighbours(spacing_mm: tuple[float, ...]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Offsets and their lengths in mm, nearest first: all that are nearer than anything beyond REACH."""
    offsets = np.array(list(product(range(-REACH, REACH + 1), repeat=len(spacing_mm))), dtype=np.intp)
    lengths = np.sqrt(((offsets * np.array(spacing_mm)) ** 2).sum(axis=1))
    is_complete = lengths < (REACH + 1) * min(spacing_mm)
    order = np.argsort(lengths[is_complete], kind="stable")
    return offsets[is_complete][order], lengths[is_complete][order]
