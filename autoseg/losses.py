"""Losses: soft Dice and cross entropy over classes or regions, with deep supervision.

A loss maps logits and a map of classes to one number to be made small. Sums are taken in float32 whatever the logits
are, masks are made by comparing classes instead of as one-hot volumes of floats, and coarser targets are strided views.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from autoseg.data.labels import LabelScheme
from autoseg.errors import TrainingError
from autoseg.extend import resolve

SMOOTH = 1e-5
SMALLEST_DENOMINATOR = 1e-8

LevelLoss = Callable[[Tensor, Tensor], Tensor]
"""The loss of one resolution: logits (B, channels, *grid) and classes (B, *grid) -> scalar."""


class LossBuilder(Protocol):
    """What LOSSES holds: a function that makes the loss of one resolution for a label scheme."""

    def __call__(self, labels: LabelScheme, *, batch_dice: bool) -> LevelLoss:
        """The loss; with `batch_dice` overlaps are pooled over the batch before their ratio is taken."""
        ...


def soft_dice(
    probabilities: Sequence[Tensor], masks: Sequence[Tensor], *, valid: Tensor | None, batch_dice: bool
) -> Tensor:
    """Mean soft Dice, 0 to 1, over pairs of probabilities and boolean masks, each (B, *grid).

    Dice = (2 * intersection + 1e-5) / max(reference + predicted + 1e-5, 1e-8), of each sample or, with `batch_dice`, of
    the whole batch. Voxels where `valid` is False do not count. A mask without voxels gives about 0 unless nothing is
    predicted either. Source: Drozdzal et al., 2016; constants as in nnU-Net.
    """
    intersections, predicted, reference = [], [], []
    for probability, mask in zip(probabilities, masks, strict=True):
        counted = probability if valid is None else probability * valid
        inside = mask if valid is None else mask & valid
        intersections.append((counted * inside).flatten(1).sum(1))
        predicted.append(counted.flatten(1).sum(1))
        reference.append(inside.flatten(1).sum(1, dtype=torch.float32))
    sums = [torch.stack(parts, dim=1) for parts in (intersections, predicted, reference)]
    if batch_dice:
        sums = [values.sum(0) for values in sums]
    overlap, soft, hard = sums
    return ((2 * overlap + SMOOTH) / (hard + soft + SMOOTH).clamp_min(SMALLEST_DENOMINATOR)).mean()


@dataclass(frozen=True)
class ClassLoss:
    """`dice` times minus the soft Dice of the foreground classes plus `cross_entropy` times the mean cross entropy.

    Both of a softmax over the channels; voxels of the ignore class count in neither.
    """

    labels: LabelScheme
    batch_dice: bool
    dice: float
    cross_entropy: float

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, classes, *grid) for classes (B, *grid)."""
        log_probabilities = F.log_softmax(logits.float(), dim=1)
        ignored = self.labels.ignore_class
        valid = None if ignored is None else target != ignored
        loss = log_probabilities.new_zeros(())
        if self.cross_entropy:
            loss = loss + self.cross_entropy * _nll(log_probabilities, target, ignored=ignored, valid=valid)
        if self.dice:
            classes = range(1, len(self.labels.labels))
            dice = soft_dice(
                [log_probabilities[:, index].exp() for index in classes],
                [target == index for index in classes],
                valid=valid,
                batch_dice=self.batch_dice,
            )
            loss = loss - self.dice * dice
        return loss


def _nll(log_probabilities: Tensor, target: Tensor, *, ignored: int | None, valid: Tensor | None) -> Tensor:
    if ignored is None or valid is None:
        return F.nll_loss(log_probabilities, target)
    total = F.nll_loss(log_probabilities, target, ignore_index=ignored, reduction="sum")
    return total / valid.sum().clamp_min(1)  # a batch without any valid voxel costs nothing instead of 0 / 0


@dataclass(frozen=True)
class RegionLoss:
    """`dice` times minus the soft Dice of the regions plus `cross_entropy` times the mean binary cross entropy.

    Both of a sigmoid per region; voxels of the ignore class count in neither.
    """

    labels: LabelScheme
    batch_dice: bool
    dice: float
    cross_entropy: float

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, regions, *grid) for classes (B, *grid)."""
        logits = logits.float()
        ignored = self.labels.ignore_class
        valid = None if ignored is None else target != ignored
        masks = [region_mask(target, self.labels.classes_of(region)) for region in self.labels.regions]
        loss = logits.new_zeros(())
        if self.cross_entropy:
            loss = loss + self.cross_entropy * _binary_cross_entropy(logits, masks, valid)
        if self.dice:
            probabilities = list(torch.sigmoid(logits).unbind(1))
            loss = loss - self.dice * soft_dice(probabilities, masks, valid=valid, batch_dice=self.batch_dice)
        return loss


def _binary_cross_entropy(logits: Tensor, masks: Sequence[Tensor], valid: Tensor | None) -> Tensor:
    references = torch.stack(list(masks), dim=1).to(logits.dtype)
    if valid is None:
        return F.binary_cross_entropy_with_logits(logits, references)
    each = F.binary_cross_entropy_with_logits(logits, references, reduction="none")
    return (each * valid[:, None]).sum() / (valid.sum() * logits.shape[1]).clamp_min(1)


def region_mask(target: Tensor, classes: Sequence[int]) -> Tensor:
    """Where `target` holds one of `classes`, by comparison: one pass per class, no table look-up."""
    mask = target == classes[0]
    for index in classes[1:]:
        mask |= target == index
    return mask


def _of_classes(name: str, *, dice: float, cross_entropy: float) -> LossBuilder:
    def build(labels: LabelScheme, *, batch_dice: bool) -> LevelLoss:
        if labels.target != "labels":
            raise TrainingError(
                f"loss {name!r} trains on classes, but this plan trains on regions. Use dice_bce or bce: "
                "--set training.loss=dice_bce"
            )
        return ClassLoss(labels=labels, batch_dice=batch_dice, dice=dice, cross_entropy=cross_entropy)

    return build


def _of_regions(name: str, *, dice: float, cross_entropy: float) -> LossBuilder:
    def build(labels: LabelScheme, *, batch_dice: bool) -> LevelLoss:
        if labels.target != "regions":
            raise TrainingError(
                f"loss {name!r} trains on regions, but this plan trains on classes. Use dice_ce or ce: "
                "--set training.loss=dice_ce"
            )
        return RegionLoss(labels=labels, batch_dice=batch_dice, dice=dice, cross_entropy=cross_entropy)

    return build


def _dice(labels: LabelScheme, *, batch_dice: bool) -> LevelLoss:
    of_target = RegionLoss if labels.target == "regions" else ClassLoss
    return of_target(labels=labels, batch_dice=batch_dice, dice=1.0, cross_entropy=0.0)


LOSSES: dict[str, LossBuilder] = {
    "dice_ce": _of_classes("dice_ce", dice=1.0, cross_entropy=1.0),
    "ce": _of_classes("ce", dice=0.0, cross_entropy=1.0),
    "dice_bce": _of_regions("dice_bce", dice=1.0, cross_entropy=1.0),
    "bce": _of_regions("bce", dice=0.0, cross_entropy=1.0),
    "dice": _dice,
}


def supervision_weights(levels: int) -> tuple[float, ...]:
    """Weights of the outputs, finest first: 1, 1/2, 1/4, ..., the coarsest 0, scaled to sum to 1.

    A single output has weight 1. Source: nnU-Net.
    """
    raw = [0.5**level for level in range(levels)]
    if levels > 1:
        raw[-1] = 0.0
    return tuple(weight / sum(raw) for weight in raw)


def coarser(target: Tensor, grid: Sequence[int]) -> Tensor:
    """The map of classes (B, *fine) at the nearest voxel of a coarser `grid`; a view where the ratio is whole.

    Coarse voxel i takes fine voxel floor((i + 1/2) * ratio), as torch's nearest-exact does.
    """
    for axis, (fine, coarse) in enumerate(zip(target.shape[1:], grid, strict=True), start=1):
        ratio = fine // coarse
        if fine == coarse:
            continue
        if fine % coarse == 0:
            target = target[(slice(None),) * axis + (slice(ratio // 2, None, ratio),)]
        else:
            nearest = ((torch.arange(coarse, device=target.device) + 0.5) * (fine / coarse)).long()
            target = target.index_select(axis, nearest)
    return target


@dataclass(frozen=True)
class DeepSupervision:
    """The weighted sum of `loss` over the outputs of a network, finest first; outputs of weight 0 cost nothing."""

    loss: LevelLoss
    weights: tuple[float, ...]

    def __call__(self, logits: Sequence[Tensor], target: Tensor) -> Tensor:
        """The loss of one tensor of logits per level for the classes (B, *patch) of the finest one."""
        total = target.new_zeros((), dtype=torch.float32)
        for weight, level in zip(self.weights, logits, strict=True):
            if weight:
                total = total + weight * self.loss(level, coarser(target, level.shape[2:]))
        return total


def build_loss(
    name: str, *, labels: LabelScheme, batch_dice: bool, deep_supervision_levels: int
) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
    """The loss called `name` for networks with that many outputs.

    Maps a list of logits (B, channels, *grid), finest first, and classes (B, *patch) to a scalar. Raises UnknownNameError
    for an unknown name, TrainingError for a loss over classes where regions are the target, or the other way round.
    """
    builder: LossBuilder = resolve("loss", name, LOSSES)
    return DeepSupervision(
        loss=builder(labels, batch_dice=batch_dice), weights=supervision_weights(deep_supervision_levels)
    )
