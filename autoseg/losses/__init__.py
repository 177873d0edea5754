"""Losses: terms over classes or regions, summed, with deep supervision."""

from autoseg.losses.outputs import region_mask
from autoseg.losses.supervision import DeepSupervision, coarser, supervision_weights
from autoseg.losses.table import LOSSES, LevelLoss, LossBuilder, build_loss

__all__ = [
    "LOSSES",
    "DeepSupervision",
    "LevelLoss",
    "LossBuilder",
    "build_loss",
    "coarser",
    "region_mask",
    "supervision_weights",
]
