"""One case: from the voxels as they were read to what a network sees, and back."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.data.box import nonzero_box, whole
from autoseg.data.image import Geometry, Image, Shape, Spacing, reorient, reorient_spacing
from autoseg.data.labels import OUTSIDE
from autoseg.errors import ImageError, number_of
from autoseg.planning.plan import Configuration, Plan
from autoseg.preprocessing.intensity import normalise
from autoseg.preprocessing.resampling import resample_image, resample_labels, resampled_shape

Number = TypeVar("Number", bound=np.generic)


class Placement(BaseModel):
    """How the network's grid lies in the one of the file.

    The axes of the file's grid (`original_shape`) are turned from `orientation` to `turned_to` (both None: not turned),
    then permuted by `transpose`; `crop` is cut out of the result (start and stop along each axis), which has `spacing_mm`,
    and is resampled to `network_shape` at `network_spacing_mm`. All but `original_shape` count axes after the turn.
    """

    model_config = FROZEN
    original_shape: Shape
    orientation: str | None
    turned_to: str | None
    transpose: tuple[int, int, int]
    crop: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    spacing_mm: Spacing
    network_shape: Shape
    network_spacing_mm: Spacing

    @property
    def cropped_shape(self) -> Shape:
        """Voxels after cropping, before resampling."""
        z, y, x = (stop - start for start, stop in self.crop)
        return z, y, x

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The crop as an index."""
        z, y, x = (slice(start, stop) for start, stop in self.crop)
        return z, y, x


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case as a network sees it: image (channel, z, y, x), classes (z, y, x) or None, and where it came from.

    `previous` is the same case as the network of the previous stage sees it, None where there is none. `body` (z, y, x) is
    where the cropped image holds something, before resampling, if that was asked for.
    """

    image: NDArray[np.float32]
    classes: NDArray[np.int16] | None
    placement: Placement
    previous: "Prepared | None" = None
    body: NDArray[np.bool_] | None = None


def prepare(
    image: Image,
    plan: Plan,
    configuration: Configuration,
    *,
    classes: NDArray[np.integer] | None = None,
    keep_body: bool = False,
) -> Prepared:
    """The case turned, cropped to what is not zero, normalised and resampled, in that order.

    `classes` (z, y, x) lie on the image's grid; in the result background outside the body is OUTSIDE. The image's own
    voxels are not changed. Beyond its input this needs the cropped image and the resampled one in single precision, and
    two volumes of one channel. Raises ImageError when the number of channels is not the plan's.
    """
    _check_channels(image, plan)
    current, wanted = (image.geometry.orientation, plan.orientation) if plan.orientation else (None, None)
    voxels = _turned(image.voxels, current=current, wanted=wanted, transpose=plan.transpose_forward)
    crop, mask = body(voxels)
    placement = _place(image, plan, configuration, crop=crop)
    within = (slice(None), *placement.box)
    cropped = np.array(voxels[within], dtype=np.float32, order="C")
    normalise(cropped, configuration.normalisation, mask=mask)
    grid = {"current_mm": placement.spacing_mm, "new_mm": placement.network_spacing_mm}
    orders = configuration.resampling
    found = None
    if classes is not None:
        turned = _turned(classes, current=current, wanted=wanted, transpose=plan.transpose_forward)
        found = np.array(turned[placement.box], dtype=np.int16, order="C")
        found = marked_outside(found, mask)
        found = resample_labels(
            found, placement.network_shape, **grid, order=orders.label_order, order_z=orders.label_order_z
        )
    kept = mask if keep_body else None
    del mask
    resampled = resample_image(
        cropped, placement.network_shape, **grid, order=orders.image_order, order_z=orders.image_order_z
    )
    return Prepared(resampled, found, placement, body=kept)


def marked_outside(classes: NDArray[np.int16], inside: NDArray[np.bool_]) -> NDArray[np.int16]:
    """`classes` (z, y, x), in place, with OUTSIDE instead of background where the body is not."""
    classes[(classes == 0) & ~inside] = OUTSIDE
    return classes


def restore(values: NDArray[Number], placement: Placement, fill: float = 0) -> NDArray[Number]:
    """Values (..., z, y, x) on the cropped grid put back onto the grid of the file, `fill` around them.

    The exact inverse of turning and cropping; undo the resampling first.
    """
    restored = np.full((*values.shape[:-3], *placement.original_shape), fill, dtype=values.dtype)
    cropped(restored, placement)[...] = values
    return restored


def cropped(values: NDArray[Number], placement: Placement) -> NDArray[Number]:
    """The part of `values` (..., z, y, x) on the grid of the file that the cropped grid covers, with its axes.

    A view: what is written into it lands in `values`.
    """
    view = _turned(values, current=placement.orientation, wanted=placement.turned_to, transpose=placement.transpose)
    within = (..., *placement.box)
    return view[within]


def body(voxels: NDArray[np.generic]) -> tuple[tuple[tuple[int, int], ...], NDArray[np.bool_]]:
    """The box around everything that is not zero in some channel, and the mask inside that box, its holes filled.

    `voxels` are (channel, z, y, x); the box is (start, stop) per axis. An image of nothing but zeros is kept whole, with
    an empty mask. A hole is background that no path along voxel faces joins to the border.
    """
    mask = np.zeros(voxels.shape[1:], dtype=bool)
    for channel in voxels:
        mask |= channel != 0
    box = nonzero_box(mask) or whole(mask.shape)
    mask = np.ascontiguousarray(mask[box])
    _fill_holes(mask)
    return tuple((part.start, part.stop) for part in box), mask


def _fill_holes(mask: NDArray[np.bool_]) -> None:
    """Fill holes in place. Everything outside the box is empty, so background at its faces is joined to the border."""
    from scipy.ndimage import label

    if mask.all() or not mask.any():
        return
    regions, count = label(~mask)
    is_hole = np.ones(count + 1, dtype=bool)
    is_hole[0] = False
    for axis in range(3):
        for face in (0, -1):
            is_hole[regions.take(face, axis=axis)] = False
    if is_hole.any():
        mask |= is_hole[regions]


def _turned(
    voxels: NDArray[Number], *, current: str | None, wanted: str | None, transpose: tuple[int, int, int]
) -> NDArray[Number]:
    """A view of (..., z, y, x) in the plan's orientation and axis order."""
    turned: NDArray[Any] = voxels
    if current is not None and wanted is not None:
        turned = reorient(voxels, current=current, wanted=wanted)
    leading = turned.ndim - 3
    view: NDArray[Number] = turned.transpose(*range(leading), *(leading + axis for axis in transpose))
    return view


def spacings(geometry: Geometry, plan: Plan, configuration: Configuration) -> tuple[Spacing, Spacing]:
    """Spacing in mm of an image once it is turned, and of the network's grid, along the axes of the network."""
    spacing = geometry.spacing_mm
    if plan.orientation is not None:
        spacing = reorient_spacing(spacing, current=geometry.orientation, wanted=plan.orientation)
    z, y, x = (spacing[axis] for axis in plan.transpose_forward)
    # In 2-D slices keep their distance.
    target = (z, y, x)[: 3 - len(configuration.spacing_mm)] + configuration.spacing_mm
    return (z, y, x), (target[0], target[1], target[2])


def _place(image: Image, plan: Plan, configuration: Configuration, *, crop: tuple[tuple[int, int], ...]) -> Placement:
    turned, new_mm = spacings(image.geometry, plan, configuration)
    shape = tuple(stop - start for start, stop in crop)
    return Placement(
        original_shape=_three(image.voxels.shape[1:]),
        orientation=image.geometry.orientation if plan.orientation is not None else None,
        turned_to=plan.orientation,
        transpose=plan.transpose_forward,
        crop=(crop[0], crop[1], crop[2]),
        spacing_mm=turned,
        network_shape=resampled_shape(_three(shape), current_mm=turned, new_mm=new_mm),
        network_spacing_mm=new_mm,
    )


def _three(shape: tuple[int, ...]) -> Shape:
    z, y, x = shape
    return z, y, x


def _check_channels(image: Image, plan: Plan) -> None:
    found, expected = len(image.voxels), len(plan.channels)
    if found != expected:
        raise ImageError(
            f"the image has {number_of(found, 'channel')}, the plan expects {expected} ({', '.join(plan.channels)}). "
            "Give one image for each of these channels, in this order."
        )
