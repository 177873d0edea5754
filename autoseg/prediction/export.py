"""From logits on the network's grid to label values on the grid of the image as it was read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.labels import LabelScheme
from autoseg.prediction.deciding import decide, decided_slabs
from autoseg.prediction.refining import Scores, refined_slabs
from autoseg.prediction.sums import SLAB_BYTES, Box
from autoseg.preprocessing.case import Placement, restore


@dataclass(frozen=True, eq=False)
class Exported:
    """Label values (z, y, x) as on disk, and probabilities (output channel, z, y, x), float16, if asked for."""

    labels: NDArray[np.integer]
    probabilities: NDArray[np.float16] | None


@torch.no_grad()
def export(
    members: Sequence[Scores],
    *,
    labels: LabelScheme,
    placement: Placement,
    boxes: Sequence[Box] = (),
    probabilities: bool = False,
) -> Exported:
    """The segmentation that `members` agree on, on the original grid; background outside the crop.

    One member decides by its logits, several by the mean of their probabilities. A softmax class must be the highest,
    a region more likely than not. The scores are taken, refined and decided slab by slab, and one after the other of the
    `boxes` that part the cropped slices (none: all of a slice at once): full-size scores never exist, unless
    `probabilities` are asked for.
    """
    shape = placement.cropped_shape
    classes = np.empty(shape, dtype=np.uint8 if len(labels.labels) <= 256 else np.int16)
    kept = np.empty((labels.output_channels, *shape), dtype=np.float16) if probabilities else None
    for box in boxes or [(slice(0, shape[1]), slice(0, shape[2]))]:
        rows, columns = (side.stop - side.start for side in box)
        depth = max(1, SLAB_BYTES // (4 * labels.output_channels * rows * columns))
        if len(members) == 1 and kept is None:
            slabs = decided_slabs(members[0], shape, labels, depth=depth, box=box)
            for first, decided in zip(range(0, shape[0], depth), slabs, strict=True):
                classes[first : first + depth, box[0], box[1]] = decided
            continue
        parts = [refined_slabs(member, shape, depth=depth, box=box) for member in members]
        for first, each in zip(range(0, shape[0], depth), zip(*parts, strict=True), strict=True):
            within = (slice(first, first + depth), box[0], box[1])
            scores = torch.stack([to_probabilities(slab, labels) for slab in each]).mean(0)
            if kept is not None:
                kept[:, within[0], within[1], within[2]] = scores.cpu().numpy()
            classes[within] = decide(scores, labels, threshold=0.5)
    values = labels.decode(restore(classes, placement, 0))
    return Exported(values, None if kept is None else _restored_probabilities(kept, labels, placement))


def to_probabilities(logits: Tensor, labels: LabelScheme) -> Tensor:
    """Probabilities of the logits (channel, ...): a sigmoid for each region, or the softmax over classes."""
    return torch.sigmoid(logits) if labels.target == "regions" else torch.softmax(logits, dim=0)


def _restored_probabilities(
    probabilities: NDArray[np.float16], labels: LabelScheme, placement: Placement
) -> NDArray[np.float16]:
    """The probabilities on the original grid; outside the crop the background is certain."""
    whole: NDArray[np.float16] = restore(probabilities, placement, 0)
    if labels.target == "labels":
        whole[0] = restore(probabilities[0], placement, 1)
    return whole
