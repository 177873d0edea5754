"""Volumes of a case beside its label map, as codes of two bytes on the grid of its file, in memory or on disk."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.labels import LabelScheme
from autoseg.errors import WorkspaceError
from autoseg.prediction.beside import Beside, chosen_channels

LEVELS = 65535
"""The largest code: it stands for the largest value of its map, 0 for 0. A step is 1.5e-5 of a probability."""

Codes = NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Maps:
    """Codes on the grid of the file; what was not asked for is None.

    `probabilities` are (chosen output channel, z, y, x), the others (z, y, x).
    """

    probabilities: Codes | None = None
    entropy: Codes | None = None
    variance: Codes | None = None


NO_MAPS = Maps()


def empty_maps(
    beside: Beside, labels: LabelScheme, shape: Sequence[int], *, has_variance: bool, folder: Path | None = None
) -> Maps:
    """Maps on a grid (z, y, x) that say, so far, that there is nothing but background, and no doubt about it.

    They lie in memory, or in files without a name in `folder`, which are gone with the maps.
    """
    found = Maps(
        probabilities=_zeros((len(chosen_channels(beside.classes, labels)), *shape), folder)
        if beside.probabilities
        else None,
        entropy=_zeros(shape, folder) if beside.uncertainty else None,
        variance=_zeros(shape, folder) if beside.uncertainty and has_variance else None,
    )
    if found.probabilities is not None and labels.target == "labels" and chosen_channels(beside.classes, labels)[0] == 0:
        found.probabilities[0] = LEVELS
    return found


def coded(values: Tensor, *, largest: float = 1.0) -> Codes:
    """The codes of values from 0 to `largest`, rounded."""
    whole = torch.round(values.clamp(0, largest) * (LEVELS / largest))
    return whole.int().cpu().numpy().astype(np.uint16)


def decoded(codes: Codes, *, largest: float = 1.0) -> NDArray[np.float32]:
    """The values that codes stand for."""
    values: NDArray[np.float32] = codes.astype(np.float32)
    values *= largest / LEVELS
    return values


def _zeros(shape: Sequence[int], folder: Path | None) -> Codes:
    if folder is None:
        return np.zeros(tuple(shape), dtype=np.uint16)
    size = np.dtype(np.uint16).itemsize * prod(shape)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            # Room is taken now: a full disk would end the process later, when a page of the file is written.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, dtype=np.uint16, mode="r+", shape=tuple(shape))
    except OSError as error:
        raise WorkspaceError(
            f"{folder}: no room for {size / 2**30:.1f} GiB while a case is predicted ({error.strerror}). Free space, or "
            "name fewer classes with --classes."
        ) from error
