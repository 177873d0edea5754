"""Deep supervision: the loss of every resolution at which a network answers, summed; coarser targets are views."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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

    loss: Callable[[Tensor, Tensor], Tensor]
    weights: tuple[float, ...]

    def __call__(self, logits: Sequence[Tensor], target: Tensor) -> Tensor:
        """The loss of one tensor of logits per level for the classes (B, *patch) of the finest one."""
        total = target.new_zeros((), dtype=torch.float32)
        for weight, level in zip(self.weights, logits, strict=True):
            if weight:
                total = total + weight * self.loss(level, coarser(target, level.shape[2:]))
        return total
