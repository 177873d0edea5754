"""The rules that turn the spacings, shapes and names of a data set into resolutions, axis order and normalisation."""

import re
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from autoseg.data.image import Shape, Spacing

ANISOTROPY = 3
"""An axis is coarse when its spacing is more than this many times the others'."""
MASK_BELOW = 3 / 4
"""Share of the volume left by cropping below which intensities are measured inside the body only."""

AxisOrder = tuple[int, int, int]
Scheme = Literal["zscore", "ct", "none", "rescale_0_1", "rgb_0_1"]

NORMALISATIONS: dict[str, Scheme] = {
    "ct": "ct",
    "nonorm": "none",
    "zscore": "zscore",
    "rescale_to_0_1": "rescale_0_1",
    "rgb_to_0_1": "rgb_0_1",
}
"""Scheme by channel name (any case); every other channel gets "zscore"."""


def median_spacing(spacings_mm: Sequence[Spacing]) -> Spacing:
    """Median of each axis in mm (z, y, x)."""
    return _triple(np.percentile(np.array(spacings_mm), 50, axis=0))


def median_shape(shapes: Sequence[Shape]) -> Spacing:
    """Median number of voxels of each axis (z, y, x); a half for an even number of cases."""
    return _triple(np.median(np.array(shapes), axis=0))


def coarse_axis(spacings_mm: Sequence[Spacing], shapes: Sequence[Shape]) -> int | None:
    """The axis with thick slices and few of them, or None.

    Thick: over three times the others' median spacing. Few: under a third of their median voxels.
    """
    spacing, size = median_spacing(spacings_mm), median_shape(shapes)
    worst = int(np.argmax(spacing))
    others = [axis for axis in range(3) if axis != worst]
    is_thick = spacing[worst] > ANISOTROPY * max(spacing[axis] for axis in others)
    is_short = size[worst] * ANISOTROPY < min(size[axis] for axis in others)
    return worst if is_thick and is_short else None


def target_spacing(spacings_mm: Sequence[Spacing], shapes: Sequence[Shape]) -> Spacing:
    """The spacing in mm (z, y, x) that images are resampled to at full resolution: the median of each axis.

    A coarse axis takes the 10th percentile of its spacings instead, so that fewer slices are lost, but stays just above
    the other axes. Source: Isensee et al., Nature Methods 18 (2021).
    """
    spacing = list(median_spacing(spacings_mm))
    axis = coarse_axis(spacings_mm, shapes)
    if axis is not None:
        finest_kept = max(mm for other, mm in enumerate(spacing) if other != axis)
        tenth = float(np.percentile(np.array(spacings_mm)[:, axis], 10))
        spacing[axis] = tenth if tenth >= finest_kept else finest_kept + 1e-5
    return _triple(np.array(spacing))


def axis_order(spacing_mm: Spacing) -> AxisOrder:
    """The axis with the largest spacing first, the others in their order; slices of 2-D networks lie across it."""
    first = int(np.argmax(spacing_mm))
    second, third = (axis for axis in range(3) if axis != first)
    return first, second, third


def resampled_shape(shape: Shape, *, current_mm: Spacing, new_mm: Spacing) -> Shape:
    """Voxels (z, y, x) of an image brought from one spacing to another; halves round to even."""
    z, y, x = (round(old / new * n) for old, new, n in zip(current_mm, new_mm, shape, strict=True))
    return z, y, x


def mirrored_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of label names that differ only in left and right: ("left kidney", "right kidney")."""
    sided = [(name, _words(name)) for name in names]
    swapped = {"left": "right", "right": "left"}
    return [
        (a, b)
        for (a, first), (b, second) in combinations(sided, 2)
        if first != second and sorted(swapped.get(word, word) for word in first) == sorted(second)
    ]


def one_sided(names: Sequence[str]) -> list[str]:
    """Label names that speak of left or right; "l" and "r" alone do not count, they also number and abbreviate."""
    return [name for name in names if {"left", "right"} & set(re.findall(r"[a-z]+", name.lower()))]


_SIDES = {"l": "left", "lt": "left", "lh": "left", "r": "right", "rt": "right", "rh": "right"}


def _words(name: str) -> list[str]:
    words = re.findall(r"[a-z]+|\d+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    return [_SIDES.get(word, word) for word in words]


def _triple(values: np.ndarray) -> Spacing:
    z, y, x = (float(value) for value in values)
    return z, y, x
