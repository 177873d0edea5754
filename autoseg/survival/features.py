"""Imaging features of one case: volumes, shape, position in the brain, intensities."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autoseg.data.image import Geometry, Image, reorient, reorient_spacing
from autoseg.data.labels import LabelScheme
from autoseg.errors import SurvivalError, number_of
from autoseg.survival.definitions import intensity_name, ratio_name, region_pairs
from autoseg.survival.intensity import brain_scaled, intensity
from autoseg.survival.position import POSITION_NAMES, find_brain, position
from autoseg.survival.shape import size_and_shape

UPRIGHT = "RAS"
"""Axes (x, y, z) to the right, forward and up: what position is told in."""

Features = dict[str, float | None]


def region_names(scheme: LabelScheme) -> tuple[str, ...]:
    """What features are told of: the regions of a scheme from the largest down, or its labels where it has none."""
    return tuple(sorted(scheme.structures, key=lambda name: -len(scheme.structures[name])))


def region_masks(labels: NDArray[np.integer], scheme: LabelScheme) -> dict[str, NDArray[np.bool_]]:
    """A boolean mask (z, y, x) of each region, from a map of on-disk values.

    Raises SurvivalError for values that the scheme does not declare.
    """
    unknown = scheme.undeclared(labels)
    if unknown:
        value, voxels = next(iter(unknown.items()))
        declared = ", ".join(str(label.value) for label in scheme.labels)
        raise SurvivalError(
            f"the segmentation holds the value {value} ({number_of(voxels, 'voxel')}); expected {declared}. Name the data "
            "set that its labels belong to with -d."
        )
    return {name: np.isin(labels, scheme.structures[name]) for name in region_names(scheme)}


def case_features(
    labels: NDArray[np.integer],
    image: Image,
    *,
    scheme: LabelScheme,
    channels: Sequence[str],
) -> Features:
    """All features of a segmentation (z, y, x, on-disk values) and its image, by column name (`definitions.columns_of`).

    The brain is where any channel of the skull-stripped image is not zero. None is undefined: shape and position of an
    empty region, ratios to one. Raises SurvivalError for undeclared values, a flat image, or an image that is zero.
    """
    _refuse_flat(image.geometry)
    voxels = reorient(image.voxels, current=image.geometry.orientation, wanted=UPRIGHT)
    upright = reorient(labels, current=image.geometry.orientation, wanted=UPRIGHT).astype(labels.dtype, copy=False)
    spacing_mm = reorient_spacing(image.geometry.spacing_mm, current=image.geometry.orientation, wanted=UPRIGHT)
    brain = find_brain(voxels, spacing_mm=spacing_mm)
    if brain is None:
        raise SurvivalError("the image is zero everywhere; expected a brain.")
    masks = region_masks(upright, scheme)
    found: Features = {}
    whole_ml = _total_ml(upright, scheme, float(np.prod(spacing_mm)) / 1000)
    for name, mask in masks.items():
        measured = size_and_shape(mask, spacing_mm=spacing_mm)
        share = (measured["volume_ml"] or 0.0) / whole_ml if whole_ml else None
        where = position(mask, brain)
        found |= _named(name, measured | {"share": share} | {key: where[key] for key in POSITION_NAMES})
    found |= _ratios(found, tuple(masks))
    for index, channel in enumerate(channels):
        scaled = brain_scaled(voxels[index], brain.mask)
        for name, mask in masks.items():
            found |= {intensity_name(name, channel, key): value for key, value in intensity(scaled[mask]).items()}
    return found


def _refuse_flat(geometry: Geometry) -> None:
    if geometry.is_flat:
        raise SurvivalError("the image is a picture without slices; survival features need volumes.")


def _total_ml(labels: NDArray[np.integer], scheme: LabelScheme, voxel_ml: float) -> float:
    return float(np.isin(labels, [label.value for label in scheme.foreground]).sum()) * voxel_ml


def _named(region: str, features: Mapping[str, float | None]) -> Features:
    return {f"{region}_{name}": value for name, value in features.items()}


def _ratios(found: Features, regions: tuple[str, ...]) -> Features:
    ratios: Features = {}
    for first, second in region_pairs(regions):
        above, below = found[f"{first}_volume_ml"], found[f"{second}_volume_ml"]
        ratios[ratio_name(first, second)] = above / below if above is not None and below else None
    return ratios
