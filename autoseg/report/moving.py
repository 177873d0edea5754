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
from autoseg.errors import EvaluationError
from autoseg.report.scene import Classes, Plane, Scene, Slice, views

FRAMES = 36
FRAME_MS = 100
SIZE = 260
"""Pixels of each side of a turning surface."""
CAPTION = 18
"""Pixels of the line above a picture."""
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
    surfaces = [surface_of(classes, scene) for classes in (scene.predicted, scene.reference)]
    spread = [np.linalg.norm(surface.points, axis=1).max() for surface in surfaces if len(surface.points)]
    if not spread or scene.is_flat:
        raise EvaluationError(f"case {scene.id}: no surface to turn: nothing is labelled, or it is a flat picture.")
    voxel = max(scene.spacing_mm)
    scale = (SIZE / 2 - 6) / (float(max(spread)) + voxel)
    frames = []
    for angle in np.linspace(0, 2 * np.pi, FRAMES, endpoint=False):
        sides = [splat(surface, angle=float(angle), scale=scale, radius=scale * voxel * 0.75) for surface in surfaces]
        frames.append(side_by_side(sides, ("prediction", "reference")))
    return frames


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


def surface_of(classes: Classes, scene: Scene) -> Surface:
    """The voxels at the outside of all labels together, in the colours of their labels.

    Normals are the gradient of the mask, smoothed over about a voxel and a half.
    """
    from scipy.ndimage import binary_erosion, gaussian_filter

    mask = classes > 0
    spacing = np.array(scene.spacing_mm)
    smooth = gaussian_filter(mask.astype(np.float32), 1.5 * spacing.min() / spacing)
    outside = np.argwhere(mask & ~binary_erosion(mask))
    gradient = np.stack([part[tuple(outside.T)] for part in np.gradient(smooth, *spacing)], axis=1)
    normals = -gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9)
    middle = (np.array(classes.shape) - 1) / 2
    # The middle of what is labelled on either side, so that both turn around one point.
    box = nonzero_box((scene.predicted > 0) | (scene.reference > 0))
    if box is not None:
        middle = np.array([(part.start + part.stop - 1) / 2 for part in box])
    colours = np.array([structure_colour(int(value) - 1) for value in classes[tuple(outside.T)]]).reshape(-1, 3)
    return Surface(((outside - middle) * spacing)[:, ::-1], normals[:, ::-1], colours.astype(np.float64))


def splat(surface: Surface, *, angle: float, scale: float, radius: float) -> Slice:
    """The surface seen from the front after turning it by `angle`: each point a square, the nearest one on top."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    points, normals = surface.points @ turn.T, surface.normals @ turn.T
    front = np.argsort(-points[:, 1], kind="stable")  # far ones first, near ones over them
    points, normals, colours = points[front], normals[front], surface.colours[front]
    shade = 0.35 + 0.65 * np.clip(normals @ LIGHT, 0, 1)
    picture = np.full((SIZE, SIZE, 3), 24, dtype=np.uint8)
    column = np.round(SIZE / 2 + scale * points[:, 0]).astype(int)
    row = np.round(SIZE / 2 - scale * points[:, 2]).astype(int)
    reach = max(1, round(radius))
    shaded = (colours * shade[:, None]).astype(np.uint8)
    offsets = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    rows = np.concatenate([np.clip(row + i, 0, SIZE - 1) for i, _ in offsets]).reshape(len(offsets), -1).T.ravel()
    columns = np.concatenate([np.clip(column + j, 0, SIZE - 1) for _, j in offsets]).reshape(len(offsets), -1).T.ravel()
    picture[rows, columns] = np.repeat(shaded, len(offsets), axis=0)
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
