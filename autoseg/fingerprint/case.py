"""What the fingerprint needs to know about one case, measured in one read of its files."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN
from autoseg.data.box import Box, around, nonzero_box, whole
from autoseg.data.image import Geometry
from autoseg.data.labels import LabelScheme
from autoseg.fingerprint.statistics import IntensitySummary, join, summarise


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


class Measuring:
    """A case that is measured channel by channel, so that no more than one channel needs memory.

    Foreground is everything but background, ignored voxels included, as nnU-Net has it. `labels` (z, y, x) are values on
    disk and `label_voxels` their counts. Costs one pass over the voxels and a sort of the foreground. A channel's
    foreground is summarised at once and forgotten, unless some of it may still turn out to lie outside the crop.
    """

    def __init__(self, labels: NDArray[np.integer], *, scheme: LabelScheme, label_voxels: dict[int, int]) -> None:
        background = scheme.labels[0].value
        self._label_voxels = label_voxels
        self._foreground = labels != background
        self._count = sum(voxels for value, voxels in label_voxels.items() if value != background)
        self._box: Box | None = None
        self._channels: list[IntensitySummary | NDArray[np.generic]] = []

    def add(self, channel: NDArray[np.generic]) -> None:
        """Measure the next channel (z, y, x), all of whose voxels are numbers."""
        self._box = around(self._box, nonzero_box(channel))
        if self._count:
            values = channel[self._foreground]
            is_inside = self._box is not None and self._foreground_within(self._box) == self._count
            self._channels.append(summarise(values[None]) if is_inside else values)

    def finish(self, geometry: Geometry) -> Measurement:
        """Size after cropping, and the intensities of the foreground within the crop, once all channels are there."""
        box = self._box or whole(geometry.shape)
        depth, height, width = (part.stop - part.start for part in box)
        shape = CaseShape(
            shape=geometry.shape,
            shape_after_crop=(depth, height, width),
            spacing_mm=geometry.spacing_mm,
            orientation=None if geometry.is_flat else geometry.orientation,
            relative_size=float(np.prod((depth, height, width)) / np.prod(geometry.shape)),
            label_voxels=self._label_voxels,
        )
        if not self._count or not self._foreground_within(box):
            return Measurement(shape=shape, intensities=None)
        return Measurement(shape=shape, intensities=join([self._summary(channel, box) for channel in self._channels]))

    def _foreground_within(self, box: Box) -> int:
        return int(np.count_nonzero(self._foreground[box]))

    def _summary(self, channel: IntensitySummary | NDArray[np.generic], box: Box) -> IntensitySummary:
        if isinstance(channel, IntensitySummary):
            return channel
        within = np.zeros(self._foreground.shape, dtype=bool)
        within[box] = True
        return summarise(channel[within[self._foreground]][None])


def case_bytes(voxels: int, *, channels: int) -> int:
    """Memory in bytes that one case takes at most while it is measured.

    `voxels` lie on its grid, `channels` are those of its largest file. Eight bytes for each voxel read, and as much four
    times over for the labels, the foreground of one channel, its sorted copy and its copy in double precision.
    """
    return 8 * voxels * (channels + 4)
