"""What a network says about a batch beside what is true, in the form that losses are made of.

Sums are taken in float32 whatever the logits are, and masks are made by comparing classes instead of as one-hot volumes
of floats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from autoseg.data.labels import LabelScheme
from autoseg.pooling import ratio


class Outputs(Protocol):
    """Foreground outputs of a network with their truth; `valid` is False where a voxel does not count (None: all do)."""

    @property
    def valid(self) -> Tensor | None:
        """Voxels that count (B, *grid)."""
        ...

    @property
    def foreground_weights(self) -> tuple[float, ...] | None:
        """A weight for each foreground output; None where they are equal."""
        ...

    def probabilities(self) -> Sequence[Tensor]:
        """One map (B, *grid) per foreground output, 0 to 1."""
        ...

    def masks(self) -> Sequence[Tensor]:
        """Where each of them is true: booleans (B, *grid)."""
        ...

    def entropy(self) -> Tensor:
        """The mean cross entropy of the voxels that count, weighted by class; 0 where none counts."""
        ...

    def costs(self) -> tuple[Tensor, Tensor]:
        """Cross entropies of what counts, and the weight of each: (n,) and (n,)."""
        ...


@dataclass(frozen=True, eq=False)
class Exclusive:
    """Classes that exclude each other: a softmax over logits (B, classes, *grid), for classes (B, *grid).

    `weights` has an entry per class, the background first.
    """

    logits: Tensor
    target: Tensor
    labels: LabelScheme
    valid: Tensor | None
    weights: tuple[float, ...] | None

    @property
    def foreground_weights(self) -> tuple[float, ...] | None:
        """Those of all classes but the background."""
        return None if self.weights is None else self.weights[1:]

    @cached_property
    def _log_probabilities(self) -> Tensor:
        return F.log_softmax(self.logits.float(), dim=1)

    def probabilities(self) -> list[Tensor]:
        """One map per foreground class."""
        return [self._log_probabilities[:, index].exp() for index in range(1, len(self.labels.labels))]

    def masks(self) -> list[Tensor]:
        """Where each foreground class is."""
        return [self.target == index for index in range(1, len(self.labels.labels))]

    def entropy(self) -> Tensor:
        """The mean cross entropy."""
        ignored, scores = self.labels.ignore_class, self._log_probabilities
        weight = None if self.weights is None else scores.new_tensor(self.weights)
        if weight is None and self.valid is None:
            return F.nll_loss(scores, self.target)
        nothing = -100 if ignored is None else ignored
        total = F.nll_loss(scores, self.target, weight=weight, ignore_index=nothing, reduction="sum")
        if weight is not None:
            return ratio(total, F.pad(weight, (0, 1))[self.target].sum())
        assert self.valid is not None, "without weights only ignored voxels make the counts differ"
        return ratio(total, self.valid.sum())

    def costs(self) -> tuple[Tensor, Tensor]:
        """One cross entropy per voxel."""
        classes = self.target if self.valid is None else torch.where(self.valid, self.target, 0)
        costs = -self._log_probabilities.gather(1, classes[:, None])[:, 0]
        weights = torch.ones_like(costs) if self.weights is None else costs.new_tensor(self.weights)[classes]
        return _counted(costs, self.valid), _counted(weights, self.valid)


@dataclass(frozen=True, eq=False)
class Overlapping:
    """Regions that may overlap: a sigmoid of each of the logits (B, regions, *grid), for classes (B, *grid).

    `weights` has an entry per region.
    """

    logits: Tensor
    target: Tensor
    labels: LabelScheme
    valid: Tensor | None
    weights: tuple[float, ...] | None

    @property
    def foreground_weights(self) -> tuple[float, ...] | None:
        """Those of the regions, which are all foreground."""
        return self.weights

    @cached_property
    def _scores(self) -> Tensor:
        return self.logits.float()

    @cached_property
    def _masks(self) -> list[Tensor]:
        return [region_mask(self.target, self.labels.classes_of(region)) for region in self.labels.regions]

    def probabilities(self) -> list[Tensor]:
        """One map per region."""
        return list(torch.sigmoid(self._scores).unbind(1))

    def masks(self) -> list[Tensor]:
        """Where each region is."""
        return self._masks

    def entropy(self) -> Tensor:
        """The mean binary cross entropy."""
        references, weight = self._references(), self._weight()
        if self.valid is None and weight is None:
            return F.binary_cross_entropy_with_logits(self._scores, references)
        each = F.binary_cross_entropy_with_logits(self._scores, references, reduction="none")
        counted = torch.ones_like(self.target, dtype=torch.bool) if self.valid is None else self.valid
        if weight is None:
            return ratio((each * counted[:, None]).sum(), counted.sum() * each.shape[1])
        return ratio((each * weight * counted[:, None]).sum(), counted.sum() * weight.sum())

    def costs(self) -> tuple[Tensor, Tensor]:
        """One binary cross entropy per voxel and region."""
        costs = F.binary_cross_entropy_with_logits(self._scores, self._references(), reduction="none")
        weight = self._weight()
        weights = torch.ones_like(costs) if weight is None else weight.expand_as(costs)
        valid = None if self.valid is None else self.valid[:, None].expand_as(costs)
        return _counted(costs, valid), _counted(weights, valid)

    def _references(self) -> Tensor:
        return torch.stack(self._masks, dim=1).to(self._scores.dtype)

    def _weight(self) -> Tensor | None:
        """The weights so that they stretch along regions."""
        if self.weights is None:
            return None
        return self._scores.new_tensor(self.weights).view(-1, *(1,) * (self._scores.dim() - 2))


def region_mask(target: Tensor, classes: Sequence[int]) -> Tensor:
    """Where `target` holds one of `classes`, by comparison: one pass per class, no table look-up."""
    mask = target == classes[0]
    for index in classes[1:]:
        mask |= target == index
    return mask


def not_ignored(target: Tensor, labels: LabelScheme) -> Tensor | None:
    """Voxels that count: those without the class of ignored ones; None where a scheme has no such class."""
    ignored = labels.ignore_class
    return None if ignored is None else target != ignored


def _counted(values: Tensor, valid: Tensor | None) -> Tensor:
    return values.flatten() if valid is None else values[valid]
