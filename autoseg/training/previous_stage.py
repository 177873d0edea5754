"""The second stage of a cascade as training sees it: what was found before goes into the network beside the image."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor

from autoseg.artefacts import FROZEN
from autoseg.data.labels import OUTSIDE
from autoseg.training.model_folder import Model, weights_file

PREVIOUS_FILE = "previous_stage.json"

HandedOn = Literal["logits", "labels"]


class PreviousStage(BaseModel):
    """The model whose findings another one refines.

    `model` is its folder as seen from the other one's, `configuration` what it was trained on, `folds` those that found
    something in the cases they were not trained on, `digest` what `folds_digest` says of them. `handed_on` is how their
    findings come onto the other one's grid in a prediction: as logits that are interpolated, or, as with nnU-Net, as the
    label map that would be written to a file.
    """

    model_config = FROZEN
    model: str
    configuration: str
    folds: tuple[str, ...]
    digest: str
    handed_on: HandedOn = "logits"


@dataclass(frozen=True)
class OutOfFold:
    """The previous stage, and the `folder` with what it found in each case, by a fold that was not trained on it."""

    stage: PreviousStage
    folder: Path


def folds_digest(model: Model, folds: Sequence[str]) -> str:
    """A short fingerprint of the final weights of some folds: 16 hexadecimal digits."""
    seen = hashlib.sha256()
    for fold in folds:
        seen.update(hashlib.sha256(weights_file(model.path, fold, "final").read_bytes()).digest())
    return seen.hexdigest()[:16]


def as_masks(classes: Tensor, *, labels: int) -> Tensor:
    """One float32 mask per foreground label (labels, *shape) of a map of classes (*shape)."""
    return torch.stack([classes == label for label in range(1, labels + 1)]).float()


def joined(classes: NDArray[Any], previous: NDArray[Any], *, labels: int) -> NDArray[Any]:
    """One map that holds two: target `classes` (OUTSIDE to labels + 1) and the `previous` ones (0 to labels).

    Whatever moves voxels moves both at once. A voxel that is OUTSIDE with nothing found before stays OUTSIDE.
    """
    span = labels + 3  # outside, background, the labels, and ignored voxels
    largest = span * (labels + 1)
    kind = np.int16 if largest <= np.iinfo(np.int16).max else np.int32
    return classes.astype(kind) + span * previous.astype(kind)


def parted(codes: Tensor, *, labels: int) -> tuple[Tensor, Tensor]:
    """The two maps, classes and previous ones, that `joined` made one."""
    span, counted = labels + 3, codes - OUTSIDE
    return counted % span + OUTSIDE, counted // span
