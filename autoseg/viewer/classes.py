"""The classes of label maps as they are shown: every value that occurs has a name and a colour, declared or not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoseg.colours import Colour, structure_colour
from autoseg.data.labels import LabelScheme

Classes = NDArray[np.uint8] | NDArray[np.uint16]
"""A label map as places in a list of classes, from 1; 0 is the background."""

MOST_TABLED = 2**20
"""Values up to here are counted and mapped by a table, which is quick; others by sorting."""


@dataclass(frozen=True)
class ShownClass:
    """A label: its value in the files, its name and its colour."""

    value: int
    name: str
    colour: Colour


def shown_classes(scheme: LabelScheme | None, values: Iterable[int]) -> tuple[ShownClass, ...]:
    """The labels of `scheme`, and after them those of the `values` that it does not declare.

    Without a scheme each value but 0 is a class called label_N, whose colour depends on the value alone.
    """
    if scheme is None:
        return tuple(
            ShownClass(value, f"label_{value}", structure_colour(abs(value) - 1)) for value in sorted(set(values) - {0})
        )
    declared = [
        ShownClass(label.value, label.name, structure_colour(index)) for index, label in enumerate(scheme.foreground)
    ]
    unknown = sorted(set(values) - {label.value for label in scheme.labels} - {scheme.ignore})
    return (
        *declared,
        *(
            ShownClass(value, f"{value} (not declared)", structure_colour(len(declared) + index))
            for index, value in enumerate(unknown)
        ),
    )


def counts_of_values(labels: NDArray[np.integer]) -> dict[int, int]:
    """Voxels of each value in a label map."""
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low >= 0 and high < MOST_TABLED:
        counts = np.bincount(labels.ravel())
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    found, numbers = np.unique(labels, return_counts=True)
    return {int(value): int(count) for value, count in zip(found, numbers, strict=True)}


def as_classes(labels: NDArray[np.integer], classes: Sequence[ShownClass]) -> Classes:
    """The place of each voxel's value in `classes`, from 1; 0 where it is none of them."""
    kind = np.uint8 if len(classes) < 256 else np.uint16
    places = {one.value: index for index, one in enumerate(classes, start=1)}
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low >= 0 and high < MOST_TABLED:
        table = np.zeros(high + 1, dtype=kind)
        for value, place in places.items():
            if 0 <= value <= high:
                table[value] = place
        mapped: Classes = table[labels]
        return mapped
    found = np.zeros(labels.shape, dtype=kind)
    for value, place in places.items():
        found[labels == value] = place
    return found


def difference(predicted: Classes, reference: Classes, *, classes: int) -> Classes:
    """Where two maps of `classes` classes differ, by what was invented, missed or confused, and of which class.

    0 where they agree; the class where only the prediction has one; `classes` more where only the reference has one; twice
    `classes` more than that of the reference where both have one, but another.
    """
    found = np.zeros(predicted.shape, dtype=np.uint8 if 3 * classes < 256 else np.uint16)
    only_predicted = (predicted != 0) & (reference == 0)
    missed = (reference != 0) & (predicted == 0)
    confused = (predicted != reference) & (predicted != 0) & (reference != 0)
    found[only_predicted] = predicted[only_predicted]
    found[missed] = reference[missed].astype(found.dtype) + classes
    found[confused] = reference[confused].astype(found.dtype) + 2 * classes
    return found


def millilitres(counts: Mapping[int, int], classes: Sequence[ShownClass], *, voxel_ml: float) -> list[float]:
    """The volume of each class in ml."""
    return [counts.get(one.value, 0) * voxel_ml for one in classes]
