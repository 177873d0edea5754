"""A slice of a validation patch with what the network finds in it, to look at while a training runs."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.labels import LabelScheme


@dataclass(frozen=True, eq=False)
class Example:
    """One slice: the first channel (y, x) scaled to 0..1, and the classes (y, x) wanted and found."""

    image: NDArray[np.float32]
    target: NDArray[np.integer]
    found: NDArray[np.integer]


@torch.no_grad()
def example_of(image: Tensor, logits: Tensor, target: Tensor, *, labels: LabelScheme) -> Example:
    """The slice with the most foreground of a batch's first sample.

    `image` is (sample, channel, *patch), `logits` (sample, output channel, *patch) and `target` (sample, *patch).
    """
    first, scores, wanted = image[0, 0], logits[0], target[0]
    if first.dim() == 3:
        index = int((wanted > 0).flatten(1).sum(1).argmax())
        first, scores, wanted = first[index], scores[:, index], wanted[index]
    grey = first.float().cpu()
    grey = (grey - grey.min()) / (grey.max() - grey.min()).clamp_min(1e-8)
    return Example(
        image=grey.numpy(),
        target=wanted.cpu().numpy(),
        found=_classes(scores.float().cpu(), labels),
    )


def _classes(scores: Tensor, labels: LabelScheme) -> NDArray[np.integer]:
    if labels.target == "regions":
        return labels.paint((scores > 0).numpy())
    winners: NDArray[np.integer] = scores.argmax(0).numpy()
    return winners
