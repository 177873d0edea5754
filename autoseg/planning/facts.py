"""What planning knows about a data set: numbers and names, wherever they came from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from autoseg.artefacts import digest
from autoseg.data.dataset import Dataset
from autoseg.data.image import Shape, Spacing
from autoseg.data.labels import LabelScheme
from autoseg.errors import PlanError, number_of
from autoseg.fingerprint.fingerprint import Fingerprint
from autoseg.fingerprint.statistics import IntensityStatistics


@dataclass(frozen=True)
class Facts:
    """A data set as the planner sees it.

    `spacings_mm` and `shapes` (after cropping) have an entry per training case, `intensities` one per channel (empty
    where no case has foreground). `relative_size` is the median share of the volume that cropping leaves.
    `mirror_axes` are those named by a template, in (z, y, x). `use_mask` asks for normalisation inside the body whatever
    the relative size. `training_cases` is what the batch is capped by; `reader` is nnU-Net's name of the image reader
    where a data set asks for one. `label_voxels` counts the voxels of each value in all training labels, and is empty where
    nobody has. Raises PlanError when numbers make no sense.
    """

    dataset: str
    channels: tuple[str, ...]
    labels: LabelScheme
    file_ending: str
    spacings_mm: tuple[Spacing, ...]
    shapes: tuple[Shape, ...]
    relative_size: float
    intensities: tuple[IntensityStatistics, ...]
    training_cases: int
    orientation: str | None = None
    mirror_axes: tuple[int, ...] | None = None
    use_mask: bool = False
    reader: str | None = None
    label_voxels: Mapping[int, int] = field(default_factory=dict)
    made_from: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_numbers(self.spacings_mm, self.shapes, relative_size=self.relative_size)
        if self.training_cases < 1:
            raise PlanError(f"dataset.json: number of training cases: found {self.training_cases}, expected 1 or more.")
        if not self.channels:
            raise PlanError("dataset.json: no channel is named. Name at least one under channel_names.")
        if self.intensities and len(self.intensities) != len(self.channels):
            raise PlanError(
                f"the fingerprint measures {number_of(len(self.intensities), 'channel')}, the data set names "
                f"{len(self.channels)} ({', '.join(self.channels)}). Use the dataset.json that the fingerprint was "
                "made with."
            )

    @property
    def label_entries(self) -> int:
        """Entries of the label table as nnU-Net counts them."""
        return label_entries(self.labels)


def label_entries(scheme: LabelScheme) -> int:
    """Entries of the label table as nnU-Net counts them: background, each label or region, ignore."""
    named = 1 + len(scheme.regions) if scheme.target == "regions" else len(scheme.labels)
    return named + (scheme.ignore is not None)


def check_numbers(spacings_mm: Sequence[Spacing], shapes: Sequence[Shape], *, relative_size: float) -> None:
    """Raise PlanError naming the first case whose spacing or shape is not made of three positive, finite numbers."""
    if not spacings_mm:
        raise PlanError("the fingerprint holds no case. Expected a spacing and a shape for each training case.")
    if len(spacings_mm) != len(shapes):
        raise PlanError(
            f"the fingerprint holds {number_of(len(spacings_mm), 'spacing')} but {number_of(len(shapes), 'shape')}. "
            "Each case needs one of both."
        )
    for kind, rows, unit in (("spacing", spacings_mm, " mm"), ("shape after cropping", shapes, " voxels")):
        for index, row in enumerate(rows):
            if len(row) != 3 or not all(math.isfinite(value) and value > 0 for value in row):
                found = " x ".join(f"{value:g}" for value in row)
                raise PlanError(
                    f"the {kind} of case {index + 1} is {found or 'empty'}. Expected three positive{unit} (z, y, x). "
                    "Correct the header of its image, or the fingerprint."
                )
    if not (math.isfinite(relative_size) and 0 < relative_size <= 1):
        raise PlanError(f"the median relative size after cropping is {relative_size:g}. Expected a share in 0..1.")


def facts_of(dataset: Dataset, fingerprint: Fingerprint) -> Facts:
    """What a data set and its fingerprint tell the planner."""
    first = dataset.cases[0].images[0]
    return Facts(
        dataset=dataset.name,
        channels=dataset.channels,
        labels=dataset.labels,
        file_ending=file_ending(first),
        spacings_mm=tuple(case.spacing_mm for case in fingerprint.cases),
        shapes=tuple(case.shape_after_crop for case in fingerprint.cases),
        relative_size=fingerprint.median_relative_size,
        intensities=fingerprint.intensities,
        training_cases=len(fingerprint.cases),
        orientation=fingerprint.orientation,
        mirror_axes=dataset.mirror_axes,
        label_voxels=_total([case.label_voxels for case in fingerprint.cases]),
        made_from={"dataset": digest(dataset), "fingerprint": digest(fingerprint)},
    )


def _total(counts: Sequence[Mapping[int, int]]) -> dict[int, int]:
    values = sorted({value for one in counts for value in one})
    return {value: sum(one.get(value, 0) for one in counts) for value in values}


def file_ending(name: str) -> str:
    """The ending that names the format of a file: ".nii.gz", ".png"."""
    endings = PurePath(name).suffixes
    return ".nii.gz" if endings[-2:] == [".nii", ".gz"] else "".join(endings[-1:])
