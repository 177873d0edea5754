"""What was understood of a data set, as numbers that a person can compare with what they know."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.data.dataset import Dataset
from autoseg.data.formats.header import Header
from autoseg.data.headers import CaseHeaders
from autoseg.data.image import Shape, Spacing


class LabelUse(BaseModel):
    """A label value with its voxels and the cases it occurs in, over the whole data set."""

    model_config = FROZEN
    name: str
    value: int
    voxels: int
    cases: int


class Understanding(BaseModel):
    """A data set in numbers. Shapes are in voxels and spacings in mm, both (z, y, x); None where no header was readable.

    Smallest, median and largest are taken for each axis on its own. `labels` is empty while no label map has been read.
    """

    model_config = FROZEN
    name: str
    layout: str
    template: str | None
    channels: tuple[str, ...]
    cases: int
    test_cases: int
    shapes: tuple[Shape, Shape, Shape] | None
    spacings_mm: tuple[Spacing, Spacing, Spacing] | None
    labels: tuple[LabelUse, ...] = ()


def summarise(
    dataset: Dataset, *, headers: Sequence[CaseHeaders], label_counts: Mapping[str, Mapping[int, int]] | None = None
) -> Understanding:
    """The data set in numbers, from headers and from the voxel count of each label value by case id."""
    readable = [one.images[0].geometry for one in headers if isinstance(one.images[0], Header)]
    return Understanding(
        name=dataset.name,
        layout=dataset.layout,
        template=dataset.template,
        channels=dataset.channels,
        cases=len(dataset.cases),
        test_cases=len(dataset.test_cases),
        shapes=_shape_range([geometry.shape for geometry in readable]) if readable else None,
        spacings_mm=_spacing_range([geometry.spacing_mm for geometry in readable]) if readable else None,
        labels=_label_uses(dataset, label_counts) if label_counts is not None else (),
    )


def _shape_range(shapes: Sequence[Shape]) -> tuple[Shape, Shape, Shape]:
    smallest, median, largest = (_three(row) for row in _range(shapes))
    return _rounded(smallest), _rounded(median), _rounded(largest)


def _spacing_range(spacings: Sequence[Spacing]) -> tuple[Spacing, Spacing, Spacing]:
    smallest, median, largest = (_three(row) for row in _range(spacings))
    return smallest, median, largest


def _range(rows: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    table = np.array(rows, dtype=np.float64)
    return [list(table.min(axis=0)), list(np.median(table, axis=0)), list(table.max(axis=0))]


def _three(row: Sequence[float]) -> Spacing:
    z, y, x = (float(value) for value in row)
    return z, y, x


def _rounded(row: Spacing) -> Shape:
    z, y, x = (round(value) for value in row)
    return z, y, x


def _label_uses(dataset: Dataset, label_counts: Mapping[str, Mapping[int, int]]) -> tuple[LabelUse, ...]:
    """One row for each declared value, the ignored one, and each value that nobody declared, in this order."""
    scheme = dataset.labels
    names = {label.value: label.name for label in scheme.labels}
    if scheme.ignore is not None:
        names[scheme.ignore] = "ignore"
    found = {value for counts in label_counts.values() for value in counts}
    names |= dict.fromkeys(sorted(found - set(names)), "undeclared")
    return tuple(
        LabelUse(
            name=name,
            value=value,
            voxels=sum(counts.get(value, 0) for counts in label_counts.values()),
            cases=sum(counts.get(value, 0) > 0 for counts in label_counts.values()),
        )
        for value, name in names.items()
    )
