"""How sure members are and how far they agree: entropy, variance, and counts of what each of them finds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.box import nonzero_box
from autoseg.data.image import Geometry
from autoseg.data.labels import LabelScheme
from autoseg.prediction.agreeing import agreed, as_probabilities
from autoseg.prediction.deciding import decide
from autoseg.prediction.maps import Codes, decoded
from autoseg.prediction.report import Uncertainty

LARGEST_VARIANCE = 0.25
"""That of probabilities of which half are 0 and half are 1."""


def largest_entropy(labels: LabelScheme) -> float:
    """Bits of the entropy where nothing is known: 1 for a region, log2 of their number for classes."""
    return 1.0 if labels.target == "regions" else math.log2(len(labels.labels))


def entropy_bits(probabilities: Tensor, labels: LabelScheme) -> Tensor:
    """Entropy (...) of probabilities (output channel, ...) in bits: 1 where two classes are equally likely.

    Of regions, which are decided one by one, the largest of their entropies counts. Source: Shannon, Bell System Technical
    Journal 27 (1948).
    """
    terms = _term(probabilities)
    if labels.target == "labels":
        return terms.sum(dim=0)
    return (terms + _term(1 - probabilities)).amax(dim=0)


def _term(share: Tensor) -> Tensor:
    share = share.clamp(0, 1)
    return -share * torch.log2(share.clamp(min=torch.finfo(share.dtype).tiny))


def variance(members: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The variance (...) over members of their probabilities (output channel, ...); the largest of all channels.

    Between 0 and 0.25; its root is how far apart members are.
    """
    mean = as_probabilities(agreed(members, shares))
    return as_probabilities(agreed([(member - mean) ** 2 for member in members], shares)).amax(dim=0)


class Doubt:
    """Entropy and variance of voxels whose output channels come one after the other, so that no two are held together."""

    def __init__(self, labels: LabelScheme, count: int) -> None:
        self._labels = labels
        self.entropy = torch.zeros(count)
        self.variance = torch.zeros(count)

    def add(self, part: slice, mean: Tensor, members: Sequence[Tensor], shares: Sequence[float]) -> None:
        """Take in the `mean` (voxel) of a channel in some of the voxels, and the probabilities of each member there."""
        bits = entropy_bits(mean[None], self._labels)
        so_far = self.entropy[part]
        self.entropy[part] = so_far + bits if self._labels.target == "labels" else torch.maximum(so_far, bits)
        spread = variance([member[None] for member in members], shares)
        self.variance[part] = torch.maximum(self.variance[part], spread)


@dataclass(frozen=True)
class Structure:
    """A region, or a foreground label where there are none: its classes, and the output channels it is the sum of."""

    name: str
    classes: tuple[int, ...]
    channels: tuple[int, ...]


def structures(labels: LabelScheme) -> tuple[Structure, ...]:
    """What findings are told of: regions, else foreground labels."""
    found = []
    for index, (name, values) in enumerate(labels.structures.items()):
        classes = tuple(place for place, label in enumerate(labels.labels) if label.value in values)
        found.append(Structure(name, classes, (index,) if labels.target == "regions" else classes))
    return tuple(found)


class Tally:
    """Sums over the voxels of a case, taken in slab by slab.

    `members` (member, structure) are the voxels of each structure that each member finds, `found` (structure) those of the
    label map that all make together. `sums` (class, output channel) are the mean probabilities of a channel summed over the
    voxels that were decided to be of a class.
    """

    def __init__(self, labels: LabelScheme, *, members: int) -> None:
        self._labels = labels
        self._structures = structures(labels)
        self.members = np.zeros((members, len(self._structures)), dtype=np.int64)
        self.found = np.zeros(len(self._structures), dtype=np.int64)
        self.sums = np.zeros((len(labels.labels), labels.output_channels))

    def add(self, classes: NDArray[np.integer], mean: Tensor, members: Sequence[Tensor]) -> None:
        """Take in the `classes` (...) decided, the `mean` probabilities (output channel, ...), and those of each member."""
        self.count(classes)
        for index, member in enumerate(members):
            self.count(decide(member, self._labels, threshold=0.5), member=index)
        decided = torch.from_numpy(classes.astype(np.int16)).to(mean.device)
        for value in np.unique(classes):
            self.sums[value] += mean[:, decided == int(value)].sum(dim=1, dtype=torch.float64).cpu().numpy()

    def count(self, classes: NDArray[np.integer], *, member: int | None = None) -> None:
        """Take in the `classes` (...) that a member finds alone; without one, those decided together."""
        counts = np.bincount(classes.ravel(), minlength=len(self._labels.labels))
        target = self.found if member is None else self.members[member]
        target += [counts[list(structure.classes)].sum() for structure in self._structures]

    def add_channel(self, channel: int, classes: NDArray[np.integer], mean: Tensor) -> None:
        """Take in the `mean` probabilities (...) of an output channel where `classes` (...) were decided."""
        weights = mean.double().cpu().numpy().ravel()
        self.sums[:, channel] += np.bincount(classes.ravel(), weights=weights, minlength=len(self.sums))

    def expected_dice(self) -> list[float | None]:
        """The Dice of each structure of the label map that its probabilities let expect; None where the map has none of it.

        2 sum(p in the map) / (voxels of the map + sum(p)): what the Dice is on average over truths drawn from the
        probabilities, but for the variation of its denominator, which is small for more than a few voxels.
        """
        return [self._expected(one, int(count)) for one, count in zip(self._structures, self.found, strict=True)]

    def _expected(self, structure: Structure, count: int) -> float | None:
        by_class = self.sums[:, list(structure.channels)].sum(axis=1)
        return float(2 * by_class[list(structure.classes)].sum() / (count + by_class.sum())) if count else None


def described(
    tally: Tally, values: NDArray[np.integer], entropy: Codes, *, labels: LabelScheme, geometry: Geometry
) -> dict[str, Uncertainty]:
    """How sure each structure of a label map of on-disk `values` (z, y, x) is; `entropy` are codes on the same grid."""
    voxel_ml = None if geometry.is_flat else float(np.prod(geometry.spacing_mm)) / 1000
    largest = largest_entropy(labels)
    found, expected = {}, tally.expected_dice()
    for index, structure in enumerate(structures(labels)):
        mask = np.isin(values, [labels.labels[one].value for one in structure.classes])
        members = tally.members[:, index]
        volumes = None if voxel_ml is None else [int(count) * voxel_ml for count in members]
        inside, on_border = _entropies(mask, entropy, largest=largest)
        found[structure.name] = Uncertainty(
            volume_ml=None if voxel_ml is None else _rounded(int(mask.sum()) * voxel_ml),
            members=len(members),
            found_by=int(np.count_nonzero(members)),
            volume_sd_ml=_rounded(statistics.stdev(volumes)) if volumes and len(volumes) > 1 else None,
            volume_min_ml=_rounded(min(volumes)) if volumes else None,
            volume_max_ml=_rounded(max(volumes)) if volumes else None,
            entropy_bits=inside,
            border_entropy_bits=on_border,
            expected_dice=_rounded(expected[index]),
        )
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _entropies(mask: NDArray[np.bool_], entropy: Codes, *, largest: float) -> tuple[float | None, float | None]:
    """The mean entropy in a mask, and on both sides of its surface; None where it is empty, or has no surface."""
    box = nonzero_box(mask)
    if box is None:
        return None, None
    wider = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
    part, bits = mask[wider], decoded(entropy[wider], largest=largest)
    return _mean(bits[part]), _mean(bits[border(part)])


def _mean(values: NDArray[np.float32]) -> float | None:
    return round(float(values.mean(dtype=np.float64)), 6) if values.size else None


def border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels on both sides of the faces between a mask and what is not in it; the image's own edge is none."""
    found = np.zeros_like(mask)
    for axis in range(mask.ndim):
        along, edge = np.moveaxis(mask, axis, 0), np.moveaxis(found, axis, 0)
        differs = along[1:] != along[:-1]
        edge[1:] |= differs
        edge[:-1] |= differs
    return found
