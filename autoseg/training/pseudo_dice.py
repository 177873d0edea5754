"""The pseudo-Dice: overlap on random validation patches, pooled over all of them; a quick guide, not a result."""

import torch
from torch import Tensor

from autoseg.data.labels import LabelScheme
from autoseg.losses import region_mask


@torch.no_grad()
def overlap_counts(logits: Tensor, target: Tensor, labels: LabelScheme) -> Tensor:
    """True positives, false positives and false negatives (3, foreground outputs) of a batch, as int64.

    `logits` are (B, channels, *grid), `target` the classes (B, *grid); voxels of the ignore class do not count.
    """
    valid = None if labels.ignore_class is None else target != labels.ignore_class
    if labels.target == "regions":
        predicted = list((logits > 0).unbind(1))
        reference = [region_mask(target, labels.classes_of(region)) for region in labels.regions]
    else:
        winner = logits.argmax(1)
        classes = range(1, len(labels.labels))
        predicted = [winner == index for index in classes]
        reference = [target == index for index in classes]
    if valid is not None:
        predicted = [mask & valid for mask in predicted]
        reference = [mask & valid for mask in reference]
    pairs = list(zip(predicted, reference, strict=True))
    return torch.stack(
        [
            torch.stack([(found & wanted).sum() for found, wanted in pairs]),
            torch.stack([(found & ~wanted).sum() for found, wanted in pairs]),
            torch.stack([(~found & wanted).sum() for found, wanted in pairs]),
        ]
    )


def dice_of(counts: Tensor) -> tuple[float | None, ...]:
    """2 tp / (2 tp + fp + fn) of each output; None for one of which nothing was there and nothing predicted."""
    overlap, wrong, missed = counts.tolist()
    return tuple(
        2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None for tp, fp, fn in zip(overlap, wrong, missed, strict=True)
    )


def mean_of(values: tuple[float | None, ...]) -> float | None:
    """The mean of those that are defined; None where none is."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
