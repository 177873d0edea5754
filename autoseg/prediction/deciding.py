"""Which class scores speak for."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.labels import LabelScheme

AT_A_TIME = 8192
"""Voxels whose scores lie in a processor's cache together."""


def to_probabilities(logits: Tensor, labels: LabelScheme) -> Tensor:
    """Probabilities of the logits (channel, ...): a sigmoid for each region, or the softmax over classes."""
    return torch.sigmoid(logits) if labels.target == "regions" else torch.softmax(logits, dim=0)


def decide(scores: Tensor, labels: LabelScheme, *, threshold: float) -> NDArray[np.integer]:
    """The classes (...) that scores (channel, ...), of whatever number type, speak for.

    The highest score wins, the lower class in a tie. Regions are painted where their score exceeds `threshold`.
    """
    if labels.target == "regions":
        return labels.paint((scores > threshold).cpu().numpy())
    if scores.device.type == "cpu":
        return _highest(scores.float().numpy() if scores.dtype == torch.bfloat16 else scores.numpy())
    found: NDArray[np.integer] = scores.argmax(0).to(torch.int16).cpu().numpy()  # the first of equals, as documented
    return found


def _highest(scores: NDArray[np.generic]) -> NDArray[np.integer]:
    """The first class (...) that has the highest of `scores` (class, ...); several times as fast as argmax."""
    count = len(scores)
    kind = np.dtype(np.uint8 if count < 256 else np.uint16)
    ranks = np.arange(count, 0, -1, dtype=kind)[:, None]
    flat = scores.reshape(count, -1)
    found = np.empty(flat.shape[1], dtype=kind)
    for first in range(0, len(found), AT_A_TIME):
        some = flat[:, first : first + AT_A_TIME]
        is_highest = (some == some.max(axis=0)).astype(kind)
        found[first : first + AT_A_TIME] = count - (is_highest * ranks).max(axis=0)
    return found.reshape(scores.shape[1:])
