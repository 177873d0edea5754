"""Moving pictures of a case: surfaces that turn, and a sweep through the slices, prediction beside reference."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from autoseg.artefacts import written_whole
from autoseg.colours import structure_colour
from autoseg.data.box import nonzero_box
from autoseg.data.image import Spacing
from autoseg.errors import EvaluationError
from autoseg.report.scene import Classes, Plane, Scene, Slice, views

FRAMES = 36
FRAME_MS = 100
SIZE = 260
"""Pixels of each side of a turning surface."""
CAPTION = 18
"""Pixels of the line above a picture."""
STEP = 1.5
"""Pixels from one point of a surface to the next: each is drawn as a square of three."""
MARGIN = 4
"""Voxels of background around what is smoothed."""
SMOOTHING = 1.0
"""Standard deviation in voxels of the smoothing that takes the steps off a surface."""
LIGHT = np.array([0.35, -0.75, 0.55]) / np.linalg.norm([0.35, -0.75, 0.55])
"""Where the light comes from (right, back, up as seen); the viewer looks along +y."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Points (n, 3) in mm around the middle of the case as (x, y, z), their normals and their colours."""

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    colours: NDArray[np.float64]


def turning(scene: Scene) -> list[Slice]:
    """Frames of both surfaces turning once around the axis of the body. Raises EvaluationError where there are none."""
    # Both turn around the middle of what is labelled on either side.
    labelled = np.argwhere((scene.predicted > 0) | (scene.reference > 0))
    if len(labelled) == 0 or scene.is_flat:
        raise EvaluationError(f"case {scene.id}: no surface to turn: nothing is labelled, or it is a flat picture.")
    middle = (labelled.min(axis=0) + labelled.max(axis=0)) / 2
    reach = np.linalg.norm((labelled - middle) * scene.spacing_mm, axis=1).max() + max(scene.spacing_mm)
    pixel_mm = float(reach) / (SIZE / 2 - 6)
    sides = [
        surface_of(classes, middle=middle, spacing_mm=scene.spacing_mm, step_mm=STEP * pixel_mm)
        for classes in (scene.predicted, scene.reference)
    ]
    names = [
        name if len(side.points) else f"{name}: nothing"
        for name, side in zip(("prediction", "reference"), sides, strict=True)
    ]
    return [
        side_by_side([splat(side, angle=float(angle), scale=1 / pixel_mm) for side in sides], names)
        for angle in np.linspace(0, 2 * np.pi, FRAMES, endpoint=False)
    ]


def sweep(scene: Scene) -> list[Slice]:
    """Frames of all axial slices that hold anything labelled, with two on either side: image, prediction, reference."""
    box = nonzero_box((scene.predicted > 0) | (scene.reference > 0))
    depth = scene.reference.shape[0]
    low, high = (0, depth) if box is None else (max(0, box[0].start - 2), min(depth, box[0].stop + 2))
    _, y, x = scene.spacing_mm
    zoom = max(1, round(SIZE / max(scene.reference.shape[1:])))
    frames = []
    for index in range(low, high):
        named = dict(views(scene, Plane("axial", 0, y, x), index))
        shown = [named[name].repeat(zoom, axis=0).repeat(zoom, axis=1) for name in ("image", "prediction", "reference")]
        frames.append(side_by_side(shown, (f"slice {index}", "prediction", "reference")))
    return frames


def write_gif(frames: Sequence[Slice], path: Path) -> None:
    """Write the frames as an animation that repeats, whole or not at all."""
    pictures = [Image.fromarray(frame).convert("P", palette=Image.Palette.ADAPTIVE, colors=256) for frame in frames]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=FRAME_MS, loop=0, optimize=True)
    with written_whole(path) as target:
        target.write(file.getvalue())


def surface_of(classes: Classes, *, middle: NDArray[np.float64], spacing_mm: Spacing, step_mm: float) -> Surface:
    """The outside of all labels together, a point every `step_mm`, seen from the voxel (z, y, x) in the `middle`.

    The mask is smoothed, but so that no voxel comes to lie on the other side of the surface: the steps of the grid
    disappear, parts of a single voxel do not. Normals are the gradient of the mask, smoothed over a voxel and a half.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

    box = nonzero_box(classes)
    if box is None:
        return Surface(*(np.zeros((0, 3)) for _ in range(3)))
    # Voxels below a step are finer than what can be seen.
    every = [max(1, int(step_mm / spacing)) for spacing in spacing_mm]
    thinned = classes[tuple(slice(part.start, part.stop, n) for part, n in zip(box, every, strict=True))]
    inside = np.pad(thinned, MARGIN)
    spacing, mask = np.array(spacing_mm) * every, inside > 0
    # Above a half inside and below it outside, whatever smoothing has made of it.
    soft = gaussian_filter(mask.astype(np.float32), SMOOTHING)
    places = _outside(np.where(mask, np.maximum(soft, 0.55), np.minimum(soft, 0.45)), spacing / step_mm)
    slope = np.gradient(gaussian_filter(mask.astype(np.float32), 1.5), *spacing)
    normals = -np.stack([map_coordinates(part, places.T, order=1) for part in slope], axis=1)
    nearest = distance_transform_edt(~mask, sampling=spacing, return_distances=False, return_indices=True)
    palette = np.array([structure_colour(value - 1) for value in range(int(inside.max()) + 1)], dtype=np.uint8)
    painted = palette[inside[tuple(nearest)]]
    colours = [map_coordinates(painted[..., i], places.T, output=np.float64, order=1) for i in range(3)]
    corner = np.array([part.start for part in box]) - np.array(every) * MARGIN
    return Surface(
        points=((places * every + corner - middle) * spacing_mm)[:, ::-1],
        normals=(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9))[:, ::-1],
        colours=np.stack(colours, axis=1),
    )


def _outside(field: NDArray[np.float32], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where (n, [z, y, x]) the outermost points above a half lie, in voxels, at so many points a voxel along each axis."""
    from scipy.ndimage import binary_erosion, zoom

    shape = np.array(field.shape)
    finer = np.round((shape - 1) * np.maximum(steps, 1)).astype(int) + 1
    filled = zoom(field, finer / shape, order=3) > 0.5
    found: NDArray[np.float64] = np.argwhere(filled & ~binary_erosion(filled)) * ((shape - 1) / (finer - 1))
    return found


def splat(surface: Surface, *, angle: float, scale: float) -> Slice:
    """The surface seen from the front after turning it by `angle`, in so many pixels a mm: the nearest points on top."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    points, normals = surface.points @ turn.T, surface.normals @ turn.T
    order = np.argsort(-points[:, 1], kind="stable")  # far ones first, near ones over them
    front = order[normals[order, 1] < 0.2]  # what faces away is hidden, but for the rim
    shade = 0.3 + 0.7 * np.clip(normals[front] @ LIGHT, 0, 1)
    shaded = (surface.colours[front] * shade[:, None]).astype(np.uint8)
    column = np.round(SIZE / 2 + scale * points[front, 0]).astype(int)
    row = np.round(SIZE / 2 - scale * points[front, 2]).astype(int)
    picture = np.full((SIZE, SIZE, 3), 24, dtype=np.uint8)
    beside = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    rows, columns = (np.clip(line[:, None] + beside[:, i], 0, SIZE - 1) for i, line in enumerate((row, column)))
    picture[rows.ravel(), columns.ravel()] = np.repeat(shaded, len(beside), axis=0)
    return picture


def side_by_side(pictures: Sequence[Slice], captions: Sequence[str]) -> Slice:
    """Pictures of one height in a row, each under its caption."""
    height = max(picture.shape[0] for picture in pictures)
    sheet = Image.new("RGB", (sum(p.shape[1] for p in pictures) + 4 * (len(pictures) - 1), height + CAPTION), (0, 0, 0))
    pen, left = ImageDraw.Draw(sheet), 0
    for picture, caption in zip(pictures, captions, strict=True):
        pen.text((left + 4, 3), caption, fill=(255, 255, 255))
        sheet.paste(Image.fromarray(picture), (left, CAPTION))
        left += picture.shape[1] + 4
    return np.asarray(sheet)
