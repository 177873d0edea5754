"""One case as it is shown: its layers, what its label maps hold, and where to look first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autoseg.data.image import Geometry, compare_grids
from autoseg.data.labels import LabelScheme
from autoseg.data.readers import image_stem, read_header, read_image, read_labels
from autoseg.errors import AutosegError, ViewerError
from autoseg.report.focus import middle_of_largest
from autoseg.viewer.cases import ViewCase
from autoseg.viewer.classes import Classes, ShownClass, as_classes, counts_of_values, difference, millilitres, shown_classes
from autoseg.viewer.volume import as_nifti, grey_window, heat_window

Kind = Literal["image", "labels", "difference", "map"]
Content = Sequence[bytes | memoryview]

PREDICTION, REFERENCE, DIFFERENCE = "prediction", "reference", "difference"
BLANK = "blank"


@dataclass(frozen=True)
class Layer:
    """Something that can be drawn: `path` and `channel` of an image or a map; label maps are in memory."""

    id: str
    kind: Kind
    name: str
    path: Path | None = None
    channel: int = 0


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map as classes (z, y, x), with the voxels of each value in its file."""

    classes: Classes
    geometry: Geometry
    counts: Mapping[int, int]


@dataclass(frozen=True, eq=False)
class OpenCase:
    """A case that has been read; images are read only when they are asked for.

    `focus_mm` is the place (x, y, z) in the world to look at first, None without a label map.
    """

    id: str
    layers: tuple[Layer, ...]
    classes: tuple[ShownClass, ...]
    label_maps: Mapping[str, LabelMap]
    notes: tuple[str, ...]
    focus_mm: tuple[float, float, float] | None
    is_flat: bool
    blank: Geometry | None = None
    volumes_ml: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def content(self, layer_id: str) -> Content:
        """The layer as a NIfTI file. Raises ViewerError for an unknown one and ImageError where it cannot be read."""
        layer = next((one for one in self.layers if one.id == layer_id), None)
        if layer is None:
            raise ViewerError(f"case {self.id}: no layer {layer_id!r}.")
        if layer.id in self.label_maps:
            found = self.label_maps[layer.id]
            return as_nifti(found.classes, found.geometry, is_labels=True)
        if layer.path is None:
            assert self.blank is not None, "the only layer without a file besides label maps"
            return as_nifti(np.zeros(self.blank.shape, dtype=np.uint8), self.blank, window=(0, 1))
        image = read_image(layer.path)
        voxels = image.voxels[layer.channel]
        window = heat_window(voxels) if layer.kind == "map" else grey_window(voxels)
        return as_nifti(voxels, image.geometry, window=window)

    def described(self) -> dict[str, Any]:
        """What the page needs to know of the case."""
        return {
            "id": self.id,
            "layers": [{"id": one.id, "kind": one.kind, "name": one.name} for one in self.layers],
            "classes": [{"name": one.name, "value": one.value, "colour": one.colour} for one in self.classes],
            "volumes_ml": {name: list(values) for name, values in self.volumes_ml.items()},
            "notes": list(self.notes),
            "focus_mm": self.focus_mm,
            "is_flat": self.is_flat,
        }


def open_case(case: ViewCase, *, scheme: LabelScheme | None, channels: Sequence[str]) -> OpenCase:
    """Read the label maps of `case` and the headers of its images; what cannot be read becomes a note.

    Prediction and reference are compared where they lie on one grid, otherwise a note says how the grids differ.
    """
    notes: list[str] = []
    raw = dict(_label_maps(case, notes))
    counts = {name: counts_of_values(labels) for name, (labels, _) in raw.items()}
    classes = shown_classes(scheme, (value for found in counts.values() for value in found))
    maps = {name: LabelMap(as_classes(labels, classes), geometry, counts[name]) for name, (labels, geometry) in raw.items()}
    notes += [f"{one.value} occurs in a label map, but is not declared." for one in classes if "(not decl" in one.name]
    difference_map = _compared(maps, scheme=scheme, raw=raw, classes=len(classes), notes=notes)
    images = list(_images(case, channels, notes))
    grids = [geometry for _, geometry in images] + [found.geometry for found in maps.values()]
    notes += _other_grids(images)
    focus = _focus(maps, difference_map)
    if difference_map is not None:
        maps[DIFFERENCE] = difference_map
    layers = [layer for layer, _ in images]
    if not layers and grids:
        layers = [Layer(BLANK, "image", "no image")]
        notes.append("No image belongs to this case: label maps are shown before an empty one. Name images with -i.")
    layers += [Layer(name, "difference" if name == DIFFERENCE else "labels", name) for name in maps]
    layers += list(_uncertainties(case, notes))
    return OpenCase(
        id=case.id,
        layers=tuple(layers),
        classes=classes,
        label_maps=maps,
        notes=tuple(notes),
        focus_mm=focus,
        is_flat=bool(grids) and grids[0].is_flat,
        blank=grids[0] if grids else None,
        volumes_ml={
            name: millilitres(found.counts, classes, voxel_ml=_voxel_ml(found.geometry))
            for name, found in maps.items()
            if name != DIFFERENCE and not found.geometry.is_flat
        },
    )


def _label_maps(case: ViewCase, notes: list[str]) -> Iterator[tuple[str, tuple[NDArray[np.integer], Geometry]]]:
    for name, path in ((PREDICTION, case.prediction), (REFERENCE, case.reference)):
        if path is None:
            continue
        try:
            yield name, read_labels(path)
        except AutosegError as error:
            notes.append(f"The {name} cannot be shown: {error}")


def _compared(
    maps: Mapping[str, LabelMap],
    *,
    scheme: LabelScheme | None,
    raw: Mapping[str, tuple[NDArray[np.integer], Geometry]],
    classes: int,
    notes: list[str],
) -> LabelMap | None:
    """The difference on the grid of both maps; None where there are not two, or their grids differ."""
    if PREDICTION not in maps or REFERENCE not in maps:
        return None
    predicted, reference = maps[PREDICTION], maps[REFERENCE]
    apart = [one for one in compare_grids(predicted.geometry, reference.geometry) if not one.is_drift]
    if apart:
        notes.append(
            f"Prediction and reference lie on different grids ({apart[0].field} {apart[0].first}, and {apart[0].second}), "
            "so there is no difference to show. Each stands where its header puts it."
        )
        return None
    found = difference(predicted.classes, reference.classes, classes=classes)
    if scheme is not None and scheme.ignore is not None:
        found[raw[REFERENCE][0] == scheme.ignore] = 0
    return LabelMap(found, reference.geometry, {})


def _images(case: ViewCase, channels: Sequence[str], notes: list[str]) -> Iterator[tuple[Layer, Geometry]]:
    """A layer for each channel of each image file that is there."""
    names = _file_names(case, channels)
    for number, (path, name) in enumerate(zip(case.images, names, strict=True)):
        try:
            header = read_header(path)
        except AutosegError as error:
            notes.append(f"{name}: {error}")
            continue
        within = channels if len(channels) == header.channels > 1 else [f"{name} {i}" for i in range(header.channels)]
        for channel in range(header.channels):
            shown = within[channel] if header.channels > 1 else name
            yield Layer(f"image-{number}-{channel}", "image", shown, path, channel), header.geometry


def _file_names(case: ViewCase, channels: Sequence[str]) -> list[str]:
    """What the image files are called on the page: their channels, else what of their names is not that of the case."""
    if len(case.images) == len(channels):
        return list(channels)
    stems = [path.name if path.is_dir() else image_stem(path) for path in case.images]
    return [stem.removeprefix(case.id).lstrip("_-") or "image" for stem in stems]


def _other_grids(images: Sequence[tuple[Layer, Geometry]]) -> Iterator[str]:
    for layer, geometry in images[1:]:
        apart = [one for one in compare_grids(images[0][1], geometry) if not one.is_drift]
        if apart:
            yield (
                f"{layer.name} lies on another grid than {images[0][0].name} ({apart[0].field} {apart[0].second}, and "
                f"{apart[0].first}); it is shown where its header puts it."
            )


def _uncertainties(case: ViewCase, notes: list[str]) -> Iterator[Layer]:
    for number, (name, path) in enumerate(case.maps.items()):
        try:
            header = read_header(path)
        except AutosegError as error:
            notes.append(f"{name}: {error}")
            continue
        for channel in range(header.channels):
            shown = name if header.channels == 1 else f"{name} {channel}"
            yield Layer(f"map-{number}-{channel}", "map", shown, path, channel)


def _focus(maps: Mapping[str, LabelMap], difference_map: LabelMap | None) -> tuple[float, float, float] | None:
    """The middle of the largest disagreement, else of the largest structure."""
    candidates = [difference_map, maps.get(REFERENCE), maps.get(PREDICTION)]
    chosen = next((one for one in candidates if one is not None and one.classes.any()), None)
    if chosen is None:
        return None
    z, y, x = middle_of_largest(chosen.classes != 0)
    world = chosen.geometry.affine @ np.array([x, y, z, 1.0])
    return float(world[0]), float(world[1]), float(world[2])


def _voxel_ml(geometry: Geometry) -> float:
    return float(np.prod(geometry.spacing_mm)) / 1000
