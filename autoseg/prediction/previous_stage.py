"""What the first stage of a cascade found, on the grid that the second one works on."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.image import Image, Shape, Spacing
from autoseg.data.labels import LabelScheme
from autoseg.errors import PredictionError
from autoseg.planning.plan import Resampling
from autoseg.prediction.deciding import decide
from autoseg.prediction.ensemble import Member
from autoseg.prediction.refining import Scores, refined_slabs
from autoseg.prediction.sums import SLAB_BYTES
from autoseg.preprocessing.case import Placement, Prepared, marked_outside, prepare
from autoseg.preprocessing.resampling import resample_labels, separate_axis
from autoseg.training.previous_stage import as_masks


def prepare_stages(image: Image, member: Member) -> Prepared:
    """The image as the networks of `member` expect it, and as those of its previous stage do.

    Raises PredictionError when the two stages turn or crop images differently.
    """
    reads_maps = member.previous is not None and member.previous.handed_on == "labels"
    found = prepare(image, member.plan, member.configuration, keep_body=reads_maps)
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
    orders = _orders(resampling, current_mm=source.network_spacing_mm, new_mm=target.network_spacing_mm)
    return _decided(scores, target.network_shape, orders=orders, labels=labels)


@torch.no_grad()
def relabelled_classes(
    scores: Scores,
    *,
    source: Placement,
    target: Placement,
    resampling: Resampling,
    label_resampling: Resampling,
    labels: LabelScheme,
    body: NDArray[np.bool_],
) -> NDArray[np.integer]:
    """The same by way of the label map that `scores` mean on the grid of the cropped image.

    `resampling` has the orders for the scores, `label_resampling` those for label maps on the way to `target`. Background
    outside the `body` (z, y, x, of the cropped image) competes as a class of its own. Source: nnU-Net, whose second stage
    reads the files that the first one wrote as it reads labels for training.
    """
    orders = _orders(resampling, current_mm=source.network_spacing_mm, new_mm=source.spacing_mm)
    found = _decided(scores, source.cropped_shape, orders=orders, labels=labels)
    return resample_labels(
        marked_outside(found.astype(np.int16), body),
        target.network_shape,
        current_mm=target.spacing_mm,
        new_mm=target.network_spacing_mm,
        order=label_resampling.label_order,
        order_z=label_resampling.label_order_z,
    )


def _orders(resampling: Resampling, *, current_mm: Spacing, new_mm: Spacing) -> tuple[int, int, int]:
    coarse = separate_axis(current_mm, new_mm)
    z, y, x = (resampling.probability_order_z if axis == coarse else resampling.probability_order for axis in range(3))
    return z, y, x


def _decided(scores: Scores, shape: Shape, *, orders: tuple[int, int, int], labels: LabelScheme) -> NDArray[np.integer]:
    """The classes (z, y, x) on the grid of `shape`, interpolated and decided slab by slab."""
    depth = max(1, SLAB_BYTES // (4 * labels.output_channels * shape[1] * shape[2]))
    slabs = refined_slabs(replace(scores, orders=orders), shape, depth=depth)
    return np.concatenate([decide(slab, labels, threshold=0.0) for slab in slabs])


def with_masks(image: NDArray[np.float32], classes: NDArray[np.integer], *, labels: LabelScheme) -> Tensor:
    """The network's input: the image (channel, z, y, x) and a mask per foreground label of `classes` (z, y, x)."""
    masks = as_masks(torch.from_numpy(classes), labels=len(labels.foreground))
    return torch.cat([torch.from_numpy(image), masks])
