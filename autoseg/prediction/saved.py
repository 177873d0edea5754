"""The probabilities of a case that several runs have saved, streamed from their files, and what they say together."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from autoseg.data.formats.nifti import VoxelStream
from autoseg.data.image import compare_grids
from autoseg.data.labels import LabelScheme
from autoseg.data.readers import read_header, voxel_stream
from autoseg.errors import PredictionError
from autoseg.prediction.agreeing import ONE, agreed, as_probabilities
from autoseg.prediction.beside import Beside, chosen_channels
from autoseg.prediction.maps import LEVELS, Maps, coded, empty_maps
from autoseg.prediction.thresholds import Thresholds, from_half
from autoseg.prediction.uncertainty import LARGEST_VARIANCE, Doubt, Tally, largest_entropy

VOXELS_AT_A_TIME = 2**21


@dataclass(frozen=True)
class SavedCase:
    """A file of each member with its probabilities of a case, and what each member counts (of 1)."""

    files: tuple[Path, ...]
    shares: tuple[float, ...]
    labels: LabelScheme

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (z, y, x) of the first file. Raises ImageError where it cannot be read."""
        return read_header(self.files[0]).geometry.shape

    def alone(self) -> "list[SavedCase]":
        """Each member as if there were no other."""
        return [replace(self, files=(file,), shares=(1.0,)) for file in self.files]

    def blocks(self) -> Iterator[tuple[int, slice, list[torch.Tensor]]]:
        """One output channel after the other, part by part of its voxels: the probabilities (voxel) of each member.

        Raises PredictionError for files with other content or on different grids, ImageError for damaged ones.
        """
        with ExitStack() as stack:
            streams = [stack.enter_context(voxel_stream(file)) for file in self.files]
            for file, stream in zip(self.files, streams, strict=True):
                _refuse_other_content(file, stream, self.labels)
                _refuse_other_grid(self.files[0], streams[0], file, stream)
            places = parts(prod(streams[0].header.geometry.shape))
            for channel in range(self.labels.output_channels):
                for part in places:
                    codes = [stream.take(part.stop - part.start).astype(np.float32) for stream in streams]
                    yield channel, part, [torch.from_numpy(one) / LEVELS for one in codes]


def parts(count: int) -> list[slice]:
    """Voxels from 0 to `count`, so many as are worked on at a time."""
    return [slice(start, min(start + VOXELS_AT_A_TIME, count)) for start in range(0, count, VOXELS_AT_A_TIME)]


def decided(case: SavedCase, thresholds: Thresholds = ()) -> NDArray[np.integer]:
    """The classes (voxel) that the mean speaks for: the most likely label, or regions above their `thresholds`.

    Files hold one channel after the other, so of labels the best one so far is kept.
    """
    count = prod(case.shape)
    if case.labels.target == "regions":
        return _painted(case, thresholds, count)
    best = torch.full((count,), -1, dtype=torch.int32)
    classes = torch.zeros(count, dtype=torch.int16)
    for channel, part, members in case.blocks():
        mean = agreed(members, case.shares)
        is_better = mean > best[part]
        classes[part].masked_fill_(is_better, channel)
        best[part] = torch.maximum(best[part], mean)
    return classes.numpy()


def _painted(case: SavedCase, thresholds: Thresholds, count: int) -> NDArray[np.integer]:
    masks = np.zeros((case.labels.output_channels, -(-count // 8)), dtype=np.uint8)  # a bit for each voxel
    for region, part, members in case.blocks():
        mean = from_half(agreed(members, case.shares)[None], thresholds[region : region + 1], one=ONE)[0]
        masks[region, part.start // 8 : -(-part.stop // 8)] = np.packbits((mean > ONE // 2).numpy())
    classes = np.empty(count, dtype=np.int16)
    for part in parts(count):
        bits = masks[:, part.start // 8 : -(-part.stop // 8)]
        classes[part] = case.labels.paint(np.unpackbits(bits, axis=1, count=part.stop - part.start).astype(bool))
    return classes


def beside_of(case: SavedCase, classes: NDArray[np.integer], beside: Beside, *, folder: Path) -> tuple[Maps, Tally | None]:
    """What is wanted beside the `classes` (voxel) decided: maps in files without a name in `folder`, and counts.

    The files are read once for the maps, and once more for what each member finds alone.
    """
    maps = empty_maps(beside, case.labels, case.shape, has_variance=True, folder=folder)
    if not beside.uncertainty:
        if beside.probabilities:
            _fill(case, classes, beside, maps=maps)
        return maps, None
    tally = Tally(case.labels, members=len(case.files))
    _fill(case, classes, beside, maps=maps, tally=tally)
    _count(tally, classes)
    for index, member in enumerate(case.alone()):
        _count(tally, decided(member), member=index)
    return maps, tally


def _fill(case: SavedCase, classes: NDArray[np.integer], beside: Beside, *, maps: Maps, tally: Tally | None = None) -> None:
    """Write what all members together say into maps and sums."""
    volumes = {channel: volume for volume, channel in enumerate(chosen_channels(beside.classes, case.labels))}
    doubt = None if tally is None else Doubt(case.labels, len(classes))
    for channel, part, members in case.blocks():
        mean = as_probabilities(agreed(members, case.shares))
        if maps.probabilities is not None and channel in volumes:
            maps.probabilities[volumes[channel]].reshape(-1)[part] = coded(mean)
        if tally is not None and doubt is not None:
            tally.add_channel(channel, classes[part], mean)
            doubt.add(part, mean, members, case.shares)
    if doubt is None or maps.entropy is None or maps.variance is None:
        return
    for part in parts(len(classes)):
        maps.entropy.reshape(-1)[part] = coded(doubt.entropy[part], largest=largest_entropy(case.labels))
        maps.variance.reshape(-1)[part] = coded(doubt.variance[part], largest=LARGEST_VARIANCE)


def _count(tally: Tally, classes: NDArray[np.integer], *, member: int | None = None) -> None:
    for part in parts(len(classes)):
        tally.count(classes[part], member=member)


def _refuse_other_content(file: Path, stream: VoxelStream, labels: LabelScheme) -> None:
    channels, wanted = stream.header.channels, labels.output_channels
    if channels != wanted or stream.kind != np.uint16 or abs(stream.slope * LEVELS - 1) > 1e-3:
        raise PredictionError(
            f"{file}: found {channels} volumes of {stream.kind.name} with a slope of {stream.slope:.3g}; expected {wanted} "
            f"of uint16 with 1/{LEVELS}, as autoseg_predict --probabilities writes them. Predict the case again."
        )


def _refuse_other_grid(first: Path, expected: VoxelStream, file: Path, stream: VoxelStream) -> None:
    for mismatch in compare_grids(expected.header.geometry, stream.header.geometry):
        if not mismatch.is_drift:
            raise PredictionError(
                f"{mismatch.field} of {file} is {mismatch.second}, but that of {first} is {mismatch.first}. Only "
                "predictions of the same image can be averaged."
            )
