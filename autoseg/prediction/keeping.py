"""What is kept of the scores of a case, slab by slab, beside the classes that they speak for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.labels import LabelScheme
from autoseg.prediction.agreeing import agreed, as_probabilities
from autoseg.prediction.beside import Beside, chosen_channels
from autoseg.prediction.deciding import to_probabilities
from autoseg.prediction.maps import coded, empty_maps
from autoseg.prediction.uncertainty import LARGEST_VARIANCE, Tally, entropy_bits, largest_entropy, variance
from autoseg.preprocessing.case import Placement, cropped

Slab = tuple[slice, slice, slice]
"""Part of the cropped grid (z, y, x)."""


class Keeper:
    """Probabilities, entropy, variance and counts of a case, as far as they are asked for.

    `shares` are those of the configurations, `voices` how many members each of them is the mean of. The mean that entropy
    and expected Dice come from is that of the members' probabilities.
    """

    def __init__(
        self,
        beside: Beside,
        labels: LabelScheme,
        placement: Placement,
        *,
        shares: Sequence[float],
        voices: Sequence[int],
        folder: Path | None = None,
    ) -> None:
        self._labels = labels
        self._placement = placement
        self._channels = list(chosen_channels(beside.classes, labels))
        self._shares = shares
        self._member_shares = [share / max(1, n) for share, n in zip(shares, voices, strict=True) for _ in range(max(1, n))]
        members = len(self._member_shares)
        self.maps = empty_maps(beside, labels, placement.original_shape, has_variance=members > 1, folder=folder)
        self.tally = Tally(labels, members=members) if beside.uncertainty else None

    def take(self, within: Slab, scores: Sequence[Tensor], classes: NDArray[np.integer]) -> None:
        """Take in the logits (mean and voices, output channel, *slab) of each configuration, and what was decided."""
        if self.maps.probabilities is not None:
            means = [to_probabilities(one[0], self._labels) for one in scores]
            mean = as_probabilities(agreed(means, self._shares))
            inside = cropped(self.maps.probabilities, self._placement)
            inside[:, within[0], within[1], within[2]] = coded(mean[self._channels])
        if self.tally is None or self.maps.entropy is None:
            return
        members = [to_probabilities(voice, self._labels) for one in scores for voice in (one[1:] if len(one) > 1 else one)]
        mean = as_probabilities(agreed(members, self._member_shares))
        self.tally.add(classes, mean, members)
        largest = largest_entropy(self._labels)
        cropped(self.maps.entropy, self._placement)[within] = coded(entropy_bits(mean, self._labels), largest=largest)
        if self.maps.variance is not None:
            found = variance(members, self._member_shares)
            cropped(self.maps.variance, self._placement)[within] = coded(found, largest=LARGEST_VARIANCE)
