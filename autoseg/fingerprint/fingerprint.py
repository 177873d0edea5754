"""The fingerprint of a data set: what planning needs to know about its images."""

from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN
from autoseg.fingerprint.stamps import FileStamp
from autoseg.fingerprint.statistics import IntensityStatistics

FINGERPRINT_FORMAT = 1


class CaseFingerprint(BaseModel):
    """One case, in the common orientation of the data set.

    `shape` and `shape_after_crop` are voxels (z, y, x), `relative_size` is the share of the volume that cropping leaves,
    `orientation` is the one the files have (None for 2-D images). `label_voxels` counts the voxels of each value on
    disk, over the whole image. `files` are the stamps of all files read, by their path in the data set.
    """

    model_config = FROZEN
    id: str
    shape: tuple[int, int, int]
    shape_after_crop: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str | None
    relative_size: float = Field(gt=0, le=1)
    label_voxels: dict[int, int]
    files: dict[str, FileStamp]


class Fingerprint(BaseModel):
    """All cases of a data set, in the orientation that most of them have.

    `intensities` are those of the foreground of each channel, empty where no case has any. `orientation` is None for
    2-D images. `made_from` holds the digest of the data set.
    """

    model_config = FROZEN
    format: int = FINGERPRINT_FORMAT
    dataset: str
    channels: tuple[str, ...]
    orientation: str | None
    cases: tuple[CaseFingerprint, ...]
    intensities: tuple[IntensityStatistics, ...]
    median_relative_size: float = Field(gt=0, le=1)
    made_from: dict[str, str]
