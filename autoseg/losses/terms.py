"""The terms that losses are sums of: each maps the outputs of a network to one number to be made small."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from autoseg.losses.outputs import Outputs
from autoseg.planning.plan import TrainingSettings
from autoseg.pooling import is_shared, largest_of_batch, over_batch, ratio

SMOOTH = 1e-5
SMALLEST_DENOMINATOR = 1e-8

Term = Callable[[Outputs, TrainingSettings, bool], Tensor]
"""Called with the outputs, the training settings, and whether overlaps are pooled over the batch."""


def dice(outputs: Outputs, settings: TrainingSettings, batch_dice: bool) -> Tensor:
    """Minus the mean soft Dice of the foreground outputs, -1 to 0, weighted by class.

    Dice = (2 * intersection + 1e-5) / max(reference + predicted + 1e-5, 1e-8), of each sample or, with `batch_dice`, of
    the whole batch. A mask without voxels gives about 0 unless nothing is predicted either.
    Source: Drozdzal et al., 2016; constants as in nnU-Net.
    """
    overlap, predicted, reference = soft_overlaps(outputs, batch_dice=batch_dice)
    scores = (2 * overlap + SMOOTH) / (reference + predicted + SMOOTH).clamp_min(SMALLEST_DENOMINATOR)
    return -_mean(scores, outputs.foreground_weights)


def tversky(outputs: Outputs, settings: TrainingSettings, batch_dice: bool) -> Tensor:
    """Minus the mean soft Tversky index: `tversky_alpha` weighs what is found too much, `tversky_beta` what is missed.

    With 1/2 for both it is the soft Dice. Source: Salehi et al., MLMI 2017.
    """
    overlap, predicted, reference = soft_overlaps(outputs, batch_dice=batch_dice)
    missed, too_much = reference - overlap, predicted - overlap
    wrong = settings.tversky_alpha * too_much + settings.tversky_beta * missed
    scores = (overlap + SMOOTH / 2) / (overlap + wrong + SMOOTH / 2).clamp_min(SMALLEST_DENOMINATOR)
    return -_mean(scores, outputs.foreground_weights)


def soft_overlaps(outputs: Outputs, *, batch_dice: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of intersection, prediction and reference: (sample, output), or (output,) where pooled over the batch."""
    overlaps, predicted, reference = [], [], []
    valid = outputs.valid
    for probability, mask in zip(outputs.probabilities(), outputs.masks(), strict=True):
        counted = probability if valid is None else probability * valid
        inside = mask if valid is None else mask & valid
        overlaps.append((counted * inside).flatten(1).sum(1))
        predicted.append(counted.flatten(1).sum(1))
        reference.append(inside.flatten(1).sum(1, dtype=torch.float32))
    sums = [torch.stack(parts, dim=1) for parts in (overlaps, predicted, reference)]
    if batch_dice:
        sums = list(over_batch(torch.stack([values.sum(0) for values in sums])))
    first, second, third = sums
    return first, second, third


def _mean(scores: Tensor, weights: tuple[float, ...] | None) -> Tensor:
    """The mean of (..., output), weighted by output."""
    if weights is None:
        return scores.mean()
    each = scores.new_tensor(weights)
    return (scores * (each / each.sum())).sum(-1).mean()


def cross_entropy(outputs: Outputs, settings: TrainingSettings, batch_dice: bool) -> Tensor:
    """The mean cross entropy, binary for regions."""
    return outputs.entropy()


def top_k_cross_entropy(outputs: Outputs, settings: TrainingSettings, batch_dice: bool) -> Tensor:
    """The mean of the `top_k_share` largest cross entropies of the batch, rounded up to whole voxels.

    Source: Wu et al., 2016.
    """
    costs, weights = outputs.costs()
    if is_shared():
        return _weighted(costs, weights * largest_of_batch(costs * weights, settings.top_k_share))
    count = math.ceil(settings.top_k_share * costs.numel())
    if count < costs.numel():
        chosen = (costs * weights).topk(count, sorted=False).indices
        costs, weights = costs[chosen], weights[chosen]
    return _weighted(costs, weights)


def focal(outputs: Outputs, settings: TrainingSettings, batch_dice: bool) -> Tensor:
    """The mean cross entropy with each voxel's share multiplied by (1 - p)^`focal_gamma`, p the chance of the truth.

    Source: Lin et al., ICCV 2017, without their factor alpha, which class weights give.
    """
    costs, weights = outputs.costs()
    # The slope of a power below 1 is infinite at 0.
    doubt = (-torch.expm1(-costs)).clamp_min(SMALLEST_DENOMINATOR)
    return _weighted(costs * doubt**settings.focal_gamma, weights)


def _weighted(costs: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean; 0 where nothing has a weight."""
    return ratio((costs * weights).sum(), weights.sum())
