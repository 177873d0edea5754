"""What the fingerprint needs to know about one case, measured in one read of its files."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN
from autoseg.data.image import Image
from autoseg.data.labels import LabelScheme
from autoseg.fingerprint.statistics import IntensitySummary, summarise

Box = tuple[slice, slice, slice]


class CaseShape(BaseModel):
    """Geometry and labels of a case as stored: shapes in voxels, spacing in mm, both (z, y, x).

    `orientation` is None for a 2-D image. `label_voxels` counts each value on disk over the whole image.
    """

    model_config = FROZEN
    shape: tuple[int, int, int]
    shape_after_crop: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str | None
    relative_size: float = Field(gt=0, le=1)
    label_voxels: dict[int, int]


@dataclass(frozen=True, eq=False)
class Measurement:
    """A case measured; `intensities` is None for a case without foreground."""

    shape: CaseShape
    intensities: IntensitySummary | None


def measure(image: Image, labels: NDArray[np.integer], *, scheme: LabelScheme, label_voxels: dict[int, int]) -> Measurement:
    """Size after cropping, and the intensities of the foreground within the crop.

    Foreground is everything but background, ignored voxels included, as nnU-Net has it. `labels` (z, y, x) are values on
    disk and `label_voxels` their counts. Costs one pass over the voxels and a sort of the foreground.
    """
    voxels, geometry = image.voxels, image.geometry
    box = nonzero_box(voxels)
    depth, height, width = (part.stop - part.start for part in box)
    shape = CaseShape(
        shape=geometry.shape,
        shape_after_crop=(depth, height, width),
        spacing_mm=geometry.spacing_mm,
        orientation=None if geometry.is_flat else geometry.orientation,
        relative_size=float(np.prod((depth, height, width)) / np.prod(geometry.shape)),
        label_voxels=label_voxels,
    )
    background = scheme.labels[0].value
    if set(label_voxels) <= {background}:
        return Measurement(shape=shape, intensities=None)
    places = np.flatnonzero(np.ascontiguousarray(labels[box]) != background)
    if places.size == 0:
        return Measurement(shape=shape, intensities=None)
    foreground = np.stack([np.take(channel[box], places) for channel in voxels])
    return Measurement(shape=shape, intensities=summarise(foreground))


def nonzero_box(voxels: NDArray[np.generic]) -> Box:
    """The smallest box that holds all voxels (channel, z, y, x) that are not zero in some channel; all if there are none.

    Filling the holes of the mask, as cropping does later, does not change its box.
    """
    z = _extent(voxels, 1)
    within = voxels[:, z]
    y = _extent(within, 2)
    x = _extent(within[:, :, y], 3)
    return z, y, x


def _extent(voxels: NDArray[np.generic], axis: int) -> slice:
    """From the first to the last slice along `axis` with a voxel that is not zero; all of them if there is none."""
    length = voxels.shape[axis]
    first = _first_nonzero(voxels, axis, range(length))
    if first is None:
        return slice(0, length)
    last = _first_nonzero(voxels, axis, range(length - 1, first - 1, -1))
    return slice(first, first + 1 if last is None else last + 1)


def _first_nonzero(voxels: NDArray[np.generic], axis: int, indices: Sequence[int]) -> int | None:
    # From the outside inwards: scans without an empty border are done after one slice at each end.
    slices = np.moveaxis(voxels, axis, 0)
    return next((index for index in indices if np.count_nonzero(slices[index])), None)
