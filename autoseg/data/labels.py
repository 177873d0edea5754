"""Label values on disk, the consecutive classes inside, and regions made of several labels."""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from autoseg.artefacts import FROZEN
from autoseg.errors import LabelError, number_of

_AT_A_TIME = 1 << 20
OUTSIDE = -1
"""The class of voxels outside the scanned body in a preprocessed label map; training reads them as background."""


_UNDECLARED = np.iinfo(np.int16).min


class Label(BaseModel):
    """A name and the integer that stands for it in the files."""

    model_config = FROZEN
    name: str
    value: int


class Region(BaseModel):
    """A named set of label values, e.g. whole tumour = 1, 2, 4, and the value it writes in a prediction.

    `writes` is None until the scheme derives it.
    """

    model_config = FROZEN
    name: str
    values: tuple[int, ...]
    writes: int | None = None


Painting = Literal["outer_first", "listed"]


class LabelScheme(BaseModel):
    """Which integers a label map may hold and what they mean.

    Classes are consecutive and follow `labels`: class 0 is the background, class i is `labels[i]`; voxels marked
    `ignore` get the class after the last one. With `target` "regions" a network has one sigmoid channel per region,
    otherwise one softmax channel per class; regions are evaluated either way. Regions are painted outer ones first, or,
    with `painting` "listed", in the order of `regions`, which is how a model from elsewhere may have been made.
    """

    model_config = FROZEN
    labels: tuple[Label, ...]
    regions: tuple[Region, ...] = ()
    ignore: int | None = None
    target: Literal["labels", "regions"] = "labels"
    # Left out where it is the usual one, so that files and digests are those of versions that did not know the key.
    painting: Painting = Field(default="outer_first", exclude_if=lambda painting: painting == "outer_first")

    @model_validator(mode="after")
    def _check(self) -> "LabelScheme":
        values = [label.value for label in self.labels]
        if len(values) < 2:
            raise ValueError(f"at least a background and one label are needed, found {len(values)}")
        duplicates = {value for value in values if values.count(value) > 1}
        if duplicates:
            raise ValueError(f"label value {min(duplicates)} is declared twice")
        for kind, names in (("label", [label.name for label in self.labels]), ("region", [r.name for r in self.regions])):
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(f"two {kind}s are called {twice!r}")
        if self.ignore in values:
            raise ValueError(f"the ignore value {self.ignore} is also declared as a label")
        for region in self.regions:
            unknown = sorted(set(region.values) - set(values[1:]))
            if unknown:
                raise ValueError(f"region {region.name!r} names {unknown[0]}, which is no foreground label")
        if self.target == "regions" and not self.regions:
            raise ValueError("the target is regions, but no region is declared")
        return self

    @property
    def foreground(self) -> tuple[Label, ...]:
        """All labels but the background."""
        return self.labels[1:]

    @property
    def ignore_class(self) -> int | None:
        """The class of ignored voxels, one past the last label; None where nothing is ignored."""
        return None if self.ignore is None else len(self.labels)

    @property
    def output_channels(self) -> int:
        """Channels of the network's output: one per region, or one per class with the background."""
        return len(self.regions) if self.target == "regions" else len(self.labels)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the foreground outputs: regions, or labels without the background."""
        return tuple(item.name for item in (self.regions if self.target == "regions" else self.foreground))

    @property
    def structures(self) -> dict[str, tuple[int, ...]]:
        """What findings are told of, as sets of values by name: the regions, or the foreground labels without any."""
        regions = {region.name: region.values for region in self.regions}
        return regions or {label.name: (label.value,) for label in self.foreground}

    @cached_property
    def _class_of_value(self) -> dict[int, int]:
        table = {label.value: index for index, label in enumerate(self.labels)}
        if self.ignore is not None:
            table[self.ignore] = len(self.labels)
        return table

    def classes_of(self, region: Region) -> tuple[int, ...]:
        """The classes that make up `region`."""
        return tuple(self._class_of_value[value] for value in region.values)

    def undeclared(self, values: NDArray[np.integer]) -> dict[int, int]:
        """Each value in the label map that the scheme does not declare, with its number of voxels."""
        found, counts = np.unique(values, return_counts=True)
        return {
            int(value): int(count)
            for value, count in zip(found, counts, strict=True)
            if int(value) not in self._class_of_value
        }

    def encode(self, values: NDArray[np.integer]) -> NDArray[np.int16]:
        """The classes of a label map holding on-disk `values` (any shape).

        Raises LabelError naming undeclared values and their voxel counts.
        """
        low, high = min(self._class_of_value), max(self._class_of_value)
        if values.size and (values.min() < low or values.max() > high):
            raise self._undeclared_error(values)
        table = np.full(high - low + 1, _UNDECLARED, dtype=np.int16)
        for value, index in self._class_of_value.items():
            table[value - low] = index
        classes: NDArray[np.int16] = table[values if low == 0 else values.astype(np.int64) - low]
        if classes.min(initial=0) == _UNDECLARED:
            raise self._undeclared_error(values)
        return classes

    def _undeclared_error(self, values: NDArray[np.integer]) -> LabelError:
        listed = ", ".join(f"{value} ({number_of(count, 'voxel')})" for value, count in self.undeclared(values).items())
        declared = ", ".join(str(value) for value in self._class_of_value)
        return LabelError(f"undeclared label value {listed}; declared are {declared}")

    def decode(self, classes: NDArray[np.integer]) -> NDArray[np.integer]:
        """On-disk values of a map of `classes` (any shape, background 0), in the smallest integer type that holds them."""
        table = np.array([label.value for label in self.labels])
        kind = np.min_scalar_type(table.min()) if table.min() < 0 else np.min_scalar_type(table.max())
        if table.min() < 0:
            kind = np.promote_types(kind, np.min_scalar_type(-int(table.max()) - 1))
        table, flat = table.astype(kind), classes.reshape(-1)
        values = np.empty(flat.shape, dtype=kind)
        for first in range(0, len(flat), _AT_A_TIME):  # numpy makes numbers of eight bytes of what it looks up
            values[first : first + _AT_A_TIME] = table[flat[first : first + _AT_A_TIME]]
        return values.reshape(classes.shape)

    def region_masks(self, classes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """One boolean map per region, stacked in front: (regions, *shape of classes)."""
        table = np.zeros((len(self.regions), len(self.labels) + 1), dtype=bool)
        for index, region in enumerate(self.regions):
            table[index, list(self.classes_of(region))] = True
        return table[:, np.maximum(classes, 0)]

    @property
    def paint_order(self) -> list[int]:
        """Indices of the regions, the one that is painted first in front."""
        return list(range(len(self.regions))) if self.painting == "listed" else outer_first(self.regions)

    def paint(self, masks: NDArray[np.bool_]) -> NDArray[np.int16]:
        """The classes that region masks (regions, *shape) stand for: each region in order overwrites what is below."""
        classes = np.zeros(masks.shape[1:], dtype=np.int16)
        for index in self.paint_order:
            writes = self.regions[index].writes
            assert writes is not None, "regions are completed by with_regions"
            classes[masks[index]] = self._class_of_value[writes]
        return classes


def outer_first(regions: Sequence[Region]) -> list[int]:
    """Indices of `regions`, outer ones first, so that nested ones are painted over what contains them."""
    return sorted(range(len(regions)), key=lambda index: -len(set(regions[index].values)))


def derive_written_values(regions: Sequence[Region]) -> tuple[Region, ...]:
    """Each region with the value it writes: the one label left after taking away the regions nested inside it.

    Regions that already say what they write keep it. Raises LabelError when painting the regions of some label does
    not give that label back, naming the label.
    """
    completed = tuple(_with_written_value(region, regions) for region in regions)
    for value in sorted({value for region in completed for value in region.values}):
        painted = [completed[i].writes for i in outer_first(completed) if value in completed[i].values]
        if painted[-1] != value:
            raise LabelError(
                f"label {value} cannot be recovered from the regions {', '.join(r.name for r in completed)}: its regions "
                f"would be written back as {painted[-1]}. Add a region that separates the two, or train on labels."
            )
    return completed


def train_on_regions(scheme: LabelScheme) -> LabelScheme:
    """The `scheme` with regions as training target, each with the value it writes.

    Raises LabelError when a label lies in no region: it would be lost in predictions.
    """
    covered = {value for region in scheme.regions for value in region.values}
    lost = [label for label in scheme.foreground if label.value not in covered]
    if lost:
        raise LabelError(
            f"label {lost[0].name!r} ({lost[0].value}) lies in no region and would never be predicted. "
            "Add it to a region, or train on labels."
        )
    regions = derive_written_values(scheme.regions)
    return LabelScheme(labels=scheme.labels, regions=regions, ignore=scheme.ignore, target="regions")


def _with_written_value(region: Region, regions: Sequence[Region]) -> Region:
    if region.writes is not None:
        return region
    own = set(region.values)
    nested = [set(other.values) for other in regions if set(other.values) < own]
    left = sorted(own.difference(*nested)) if nested else sorted(own)
    if len(left) != 1:
        raise LabelError(
            f"region {region.name!r} must add exactly one label to the regions inside it, found {left or 'none'}. "
            "Declare a region for each further label, or train on labels."
        )
    return region.model_copy(update={"writes": left[0]})
