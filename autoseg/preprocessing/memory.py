"""How much memory preprocessing a case takes, counted in volumes."""

import math

from autoseg.data.image import Geometry
from autoseg.planning.plan import Configuration, Plan
from autoseg.preprocessing.case import spacings

BYTES = 4
"""Of a voxel in single precision; images stored with more bytes take twice as much while they are read."""

OF_A_CHANNEL = 2
"""Volumes on the file's grid that each channel needs: as read, and as cropped and normalised."""

BESIDE_SOURCE, BESIDE_RESAMPLED = 4, 4
"""Further volumes on the file's grid, for labels, mask and a channel under way, and on the network's, for labels, their
shares and a channel while an axis is resampled."""


def case_bytes(geometry: Geometry, plan: Plan, configuration: Configuration) -> int:
    """The most memory that preprocessing a case of this `geometry` takes, in bytes.

    (2 c + 4) n + (c + 4) m voxels in single precision: c channels on the n voxels of the file, of which cropping leaves all
    in the worst case, and on the m voxels that resampling makes of them.
    """
    channels = len(plan.channels)
    voxels = math.prod(geometry.shape)
    current_mm, new_mm = spacings(geometry, plan, configuration)
    resampled = voxels * math.prod(old / new for old, new in zip(current_mm, new_mm, strict=True))
    return int(BYTES * ((OF_A_CHANNEL * channels + BESIDE_SOURCE) * voxels + (channels + BESIDE_RESAMPLED) * resampled))
