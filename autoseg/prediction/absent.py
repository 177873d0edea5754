"""Cases that lack a sequence: which one, and what stands in for it where a model has learned to do without."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autoseg.data.dataset import Case
from autoseg.data.image import Image
from autoseg.data.readers import read_case, read_header
from autoseg.errors import PredictionError, number_of


def read_present(case: Case, *, channels: Sequence[str], may_lack: bool) -> tuple[Image, tuple[str, ...]]:
    """All channels of a case, and the names of those that are absent: they are zero everywhere.

    A file that is named but not there is an absent channel, unless the only file that is there holds all channels and is
    not named as another one. Raises
    PredictionError naming what is found where channels are absent and the model does not allow for it (`may_lack`), and
    ImageError where a file cannot be read.
    """
    _refuse_single_series(case, channels)
    present = [index for index, path in enumerate(case.images) if Path(path).exists()]
    files = [case.images[index] for index in present]
    if len(case.images) == 1 or (_may_hold_all(present, channels) and _holds_all(files[0], channels)):
        return read_case(case.model_copy(update={"images": tuple(files or case.images)}), Path(), channels=channels), ()
    if len(case.images) != len(channels):
        raise PredictionError(_found(case, files, channels))
    absent = tuple(name for index, name in enumerate(channels) if index not in present)
    if absent and (not may_lack or not files):
        raise PredictionError(
            f"{_found(case, files, channels)} A model trained with --set training.drop_channel=0.2 can do without "
            f"{', '.join(absent)}."
        )
    names = [channels[index] for index in present]
    image = read_case(case.model_copy(update={"images": tuple(files)}), Path(), channels=names)
    if not absent:
        return image, ()
    voxels = np.zeros((len(channels), *image.voxels.shape[1:]), dtype=image.voxels.dtype)
    voxels[present] = image.voxels
    return Image(voxels, image.geometry), absent


def _refuse_single_series(case: Case, channels: Sequence[str]) -> None:
    """Refuse a DICOM series alone where it is not all channels, with the way to name the others."""
    place = Path(case.images[0])
    if len(case.images) > 1 or not place.is_dir() or read_header(place).channels == len(channels):
        return
    raise PredictionError(
        f"case {case.id}: a single DICOM series; the model expects {len(channels)} channels: {', '.join(channels)}. Assign "
        f"a series to each, such as --channel {channels[0]}={place.name}."
    )


def _may_hold_all(present: Sequence[int], channels: Sequence[str]) -> bool:
    """Whether a single file is there; with one channel, it must be the first: CASE_0001 would be another sequence."""
    return len(present) == 1 and (len(channels) > 1 or present[0] == 0)


def _holds_all(file: str, channels: Sequence[str]) -> bool:
    return read_header(Path(file)).channels == len(channels)


def _found(case: Case, files: Sequence[str], channels: Sequence[str]) -> str:
    names = ", ".join(Path(file).name for file in files)
    return (
        f"case {case.id}: {number_of(len(files), 'channel')} found ({names}); the model expects {len(channels)}: "
        f"{', '.join(channels)}. Give one file for each, or one file with all."
    )
