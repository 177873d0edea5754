"""From logits on the network's grid to label values on the grid of the image as it was read."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.labels import LabelScheme
from autoseg.prediction.agreeing import ONE, agreed
from autoseg.prediction.agreeing import shares as equal_shares
from autoseg.prediction.deciding import decide, to_probabilities
from autoseg.prediction.keeping import Keeper
from autoseg.prediction.refining import Scores, refined_slabs
from autoseg.prediction.sums import SLAB_BYTES, Box
from autoseg.prediction.thresholds import Thresholds, from_half, from_threshold, moved
from autoseg.prediction.tiles import decided_slabs, thick_enough
from autoseg.preprocessing.case import Placement, restore


@torch.no_grad()
def export(
    members: Sequence[Scores],
    *,
    labels: LabelScheme,
    placement: Placement,
    boxes: Sequence[Box] = (),
    shares: Sequence[float] | None = None,
    keeper: Keeper | None = None,
    thresholds: Thresholds = (),
) -> NDArray[np.integer]:
    """The label values (z, y, x), as on disk, that `members` agree on, on the original grid; background outside the crop.

    One member decides by its logits, several by the mean of their probabilities, weighted by `shares` (of 1; none: all the
    same). A softmax class must be the highest, a region more likely than its threshold (none: than not). The scores are
    taken, refined and decided slab by slab, and one after the other of the `boxes` that part the cropped slices (none: all
    of a slice at once): full-size scores never exist. A `keeper` sees every slab.
    """
    shape = placement.cropped_shape
    classes = np.empty(shape, dtype=np.uint8 if len(labels.labels) <= 256 else np.int16)
    channels = labels.output_channels * sum(1 + member.voices for member in members)
    for box in boxes or [(slice(0, shape[1]), slice(0, shape[2]))]:
        rows, columns = (side.stop - side.start for side in box)
        depth = max(1, SLAB_BYTES // (4 * channels * rows * columns))
        alone = len(members) == 1 and keeper is None
        if alone and members[0].shape != shape:
            depth = max(depth, thick_enough(members[0], shape, labels, box=box))
        places = [(slice(first, min(first + depth, shape[0])), box[0], box[1]) for first in range(0, shape[0], depth)]
        if alone:
            slabs = decided_slabs(moved(members[0], thresholds), shape, labels, depth=depth, box=box)
            for within, decided in zip(places, slabs, strict=True):
                classes[within] = decided
            continue
        parts = [refined_slabs(member, shape, depth=depth, box=box) for member in members]
        for within, each in zip(places, zip(*parts, strict=True), strict=True):
            scores = [slab.unflatten(0, (-1, labels.output_channels)) for slab in each]
            classes[within] = _together([one[0] for one in scores], labels, shares, thresholds)
            if keeper is not None:
                keeper.take(within, scores, classes[within])
    values: NDArray[np.integer] = labels.decode(restore(classes, placement, 0))
    return values


def _together(
    scores: Sequence[Tensor], labels: LabelScheme, shares: Sequence[float] | None, thresholds: Thresholds
) -> NDArray[np.integer]:
    """The classes that the logits of all members together speak for."""
    if len(scores) == 1:
        return decide(from_threshold(scores[0], thresholds), labels, threshold=0.0)
    probabilities = [to_probabilities(one, labels) for one in scores]
    together = agreed(probabilities, shares or equal_shares(None, len(scores)))
    return decide(from_half(together, thresholds, one=ONE), labels, threshold=ONE // 2)
