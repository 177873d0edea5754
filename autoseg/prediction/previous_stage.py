"""What the first stage of a cascade found, on the grid that the second one works on."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.image import Image
from autoseg.data.labels import LabelScheme
from autoseg.errors import PredictionError
from autoseg.planning.plan import Resampling
from autoseg.prediction.deciding import decide
from autoseg.prediction.ensemble import Member
from autoseg.prediction.refining import Scores, refined_slabs
from autoseg.prediction.sums import SLAB_BYTES
from autoseg.preprocessing.case import Placement, Prepared, prepare
from autoseg.preprocessing.resampling import separate_axis
from autoseg.training.previous_stage import as_masks


def prepare_stages(image: Image, member: Member) -> Prepared:
    """The image as the networks of `member` expect it, and as those of its previous stage do.

    Raises PredictionError when the two stages turn or crop images differently.
    """
    found = prepare(image, member.plan, member.configuration)
    if member.previous is None:
        return found
    previous = prepare_stages(image, member.previous)
    if before_resampling(previous.placement) != before_resampling(found.placement):
        raise PredictionError(
            f"{member.configuration.name} and the model of {member.previous.configuration.name} that it refines orient or "
            f"crop images differently. Train the cascade again: autoseg_train {member.configuration.name} --restart"
        )
    return replace(found, previous=previous)


def before_resampling(placement: Placement) -> tuple[object, ...]:
    """What two placements of an image must share for one to be a mere resampling of the other."""
    return placement.turned_to, placement.transpose, placement.crop


@torch.no_grad()
def refined_classes(
    scores: Scores, *, source: Placement, target: Placement, resampling: Resampling, labels: LabelScheme
) -> NDArray[np.integer]:
    """The classes (z, y, x) that `scores` on the network grid of `source` mean on that of `target`.

    Both are grids of the same cropped image. Interpolated and decided slab by slab.
    """
    coarse = separate_axis(source.network_spacing_mm, target.network_spacing_mm)
    z, y, x = (resampling.probability_order_z if axis == coarse else resampling.probability_order for axis in range(3))
    shape = target.network_shape
    depth = max(1, SLAB_BYTES // (4 * labels.output_channels * shape[1] * shape[2]))
    slabs = refined_slabs(replace(scores, orders=(z, y, x)), shape, depth=depth)
    return np.concatenate([decide(slab, labels, threshold=0.0) for slab in slabs])


def with_masks(image: NDArray[np.float32], classes: NDArray[np.integer], *, labels: LabelScheme) -> Tensor:
    """The network's input: the image (channel, z, y, x) and a mask per foreground label of `classes` (z, y, x)."""
    masks = as_masks(torch.from_numpy(classes), labels=len(labels.foreground))
    return torch.cat([torch.from_numpy(image), masks])
