"""One case as it is drawn: an image behind, prediction and reference on its grid, seen the way radiologists do."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoseg.colours import CONFUSED, INVENTED, MISSED, Colour, structure_colour
from autoseg.data.image import Geometry, Spacing, reorient, reorient_spacing
from autoseg.data.labels import LabelScheme
from autoseg.data.readers import read_image, read_labels
from autoseg.errors import EvaluationError
from autoseg.report.focus import middle_of_largest
from autoseg.report.sources import Sources

SEEN = "LPS"
"""Axes (x, y, z) that grow to the left, back and top of the patient: slices look as radiologists have them."""

Slice = NDArray[np.uint8]
"""A picture (row, column, [red, green, blue])."""
Classes = NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Scene:
    """A case (z, y, x): grey values 0 to 255 (None without an image), both label maps as classes, 0 the background."""

    id: str
    grey: NDArray[np.uint8] | None
    predicted: Classes
    reference: Classes
    spacing_mm: Spacing
    is_flat: bool

    @property
    def difference(self) -> NDArray[np.bool_]:
        """Where prediction and reference differ."""
        differs: NDArray[np.bool_] = self.predicted != self.reference
        return differs


@dataclass(frozen=True)
class Plane:
    """One of the three planes: its name, the axis across it, and the millimetres of a row and a column."""

    name: str
    axis: int
    row_mm: float
    column_mm: float


def open_scene(sources: Sources, case_id: str, *, scheme: LabelScheme) -> Scene:
    """The case as stored. Raises EvaluationError, naming the case, without a prediction or a reference."""
    prediction, reference = sources.predictions.get(case_id), sources.reference(case_id)
    for path, what in ((prediction, "prediction"), (reference, "reference")):
        if path is None:
            known = ", ".join(list(sources.predictions)[:5]) or "none"
            raise EvaluationError(f"case {case_id}: no {what} is stored. Predicted cases are {known}.")
    assert prediction is not None, "checked above"
    assert reference is not None, "checked above"
    predicted, geometry = read_labels(prediction)
    truth, own = read_labels(reference)
    if geometry.shape != own.shape:
        raise EvaluationError(
            f"case {case_id}: the shape of {prediction} is {geometry.shape}, that of {reference} is {own.shape}. One "
            "of them has changed since the evaluation: predict and evaluate again."
        )
    grey = _grey(sources, case_id, geometry)
    found, expected = (_clean(scheme.encode(values), scheme) for values in (predicted, truth))
    if geometry.is_flat:
        return Scene(case_id, grey, found, expected, geometry.spacing_mm, is_flat=True)
    turn = {"current": geometry.orientation, "wanted": SEEN}
    return Scene(
        case_id,
        None if grey is None else reorient(grey, **turn).astype(np.uint8),
        reorient(found, **turn).astype(np.int16),
        reorient(expected, **turn).astype(np.int16),
        reorient_spacing(geometry.spacing_mm, **turn),
        is_flat=False,
    )


def _clean(classes: Classes, scheme: LabelScheme) -> Classes:
    """Ignored voxels as background."""
    return np.where(classes == scheme.ignore_class, 0, classes).astype(np.int16) if scheme.ignore is not None else classes


def _grey(sources: Sources, case_id: str, geometry: Geometry) -> NDArray[np.uint8] | None:
    """The first channel, its darkest and brightest half per cent cut off; None where there is none on this grid."""
    case = sources.case(case_id)
    if case is None or sources.dataset is None:
        return None
    path = case.image_paths(sources.dataset.folder)[0]
    if not path.exists():
        return None
    voxels = read_image(path).voxels[0].astype(np.float32)
    if voxels.shape != geometry.shape:
        return None
    inside = voxels[voxels != 0] if (voxels != 0).any() else voxels
    low, high = np.percentile(inside, (0.5, 99.5))
    scaled = np.clip((voxels - min(low, 0 if low > 0 else low)) / max(high - min(low, 0 if low > 0 else low), 1e-6), 0, 1)
    grey: NDArray[np.uint8] = (255 * scaled).astype(np.uint8)
    return grey


def planes(scene: Scene) -> tuple[Plane, ...]:
    """The planes in which the case is shown; a flat picture has one."""
    z, y, x = scene.spacing_mm
    if scene.is_flat:
        return (Plane("picture", 0, y, x),)
    return (Plane("axial", 0, y, x), Plane("coronal", 1, z, x), Plane("sagittal", 2, z, y))


def largest_disagreement(scene: Scene) -> tuple[int, int, int]:
    """The voxel (z, y, x) in the middle of the largest connected part in which prediction and reference differ.

    Where they agree everywhere, the middle of the reference, else of the image.
    """
    differs = scene.difference
    return middle_of_largest(differs if differs.any() else scene.reference > 0)


def slice_of(volume: NDArray[np.generic], plane: Plane, index: int) -> NDArray[np.generic]:
    """One slice of a volume (z, y, x), top of the head up."""
    cut: NDArray[np.generic] = np.moveaxis(volume, plane.axis, 0)[index]
    return cut if plane.axis == 0 else cut[::-1]


def views(scene: Scene, plane: Plane, index: int) -> Iterator[tuple[str, Slice]]:
    """Image, prediction, reference and difference in one slice, by name."""
    predicted, reference = (slice_of(volume, plane, index) for volume in (scene.predicted, scene.reference))
    shape = (*predicted.shape, 3)
    grey = slice_of(scene.grey, plane, index)[..., None] if scene.grey is not None else np.full(shape, 40)
    image: Slice = np.broadcast_to(grey, shape).astype(np.uint8)
    yield "image", image
    for name, classes in (("prediction", predicted), ("reference", reference)):
        yield name, painted(image, {int(c): structure_colour(int(c) - 1) for c in np.unique(classes) if c}, classes)
    kinds = np.zeros(predicted.shape, dtype=np.int16)
    differs = predicted != reference
    kinds[differs & (reference == 0)], kinds[differs & (predicted == 0)] = 1, 2
    kinds[differs & (predicted != 0) & (reference != 0)] = 3
    yield "difference", painted(image, {1: INVENTED, 2: MISSED, 3: CONFUSED}, kinds)


def painted(image: Slice, colours: dict[int, Colour], classes: NDArray[np.generic], *, strength: float = 0.6) -> Slice:
    """The picture with each class in its colour, seen through."""
    found = image.astype(np.float32)
    for value, colour in colours.items():
        where = classes == value
        found[where] = (1 - strength) * found[where] + strength * np.array(colour, dtype=np.float32)
    return found.astype(np.uint8)
