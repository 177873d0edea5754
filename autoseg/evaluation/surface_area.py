"""The normalised surface distance: the share of two surfaces that lies within a tolerance of the other."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from operator import mul

import numpy as np
from numpy.typing import NDArray

from autoseg.data.box import nonzero_box
from autoseg.evaluation.nearest import nearest_mm
from autoseg.evaluation.surface import Mask

Point = tuple[float, ...]
CORNERS = tuple(product((0, 1), repeat=3))
"""The corners (z, y, x) of a cell of 2 x 2 x 2 voxel centres; corner i is bit i of the cell's code."""


def surface_dice(
    predicted: Mask, reference: Mask, *, spacing_mm: Sequence[float], is_flat: bool, tolerance_mm: float
) -> float | None:
    """The normalised surface distance (NSD, surface Dice), 0 to 1; None when both masks are empty, 0 when one is.

    A surface runs through the cells between 2 x 2 x 2 voxel centres of which some but not all are inside; each such cell
    counts with the area that marching cubes give it, once it lies within `tolerance_mm` of a surface cell of the other
    mask. In a flat image cells are 2 x 2 and count with the length of the outline.
    Source: Nikolov et al., arXiv:1809.04430, and the implementation its authors published.
    """
    if not (predicted.any() or reference.any()):
        return None
    box = nonzero_box(predicted | reference)
    both = [mask[box][0] if is_flat else mask[box] for mask in (predicted, reference)]
    spacing = tuple(map(float, spacing_mm[1:] if is_flat else spacing_mm))
    areas = outline_lengths(spacing) if is_flat else surface_areas(spacing)
    cells = [surface_cells(mask) for mask in both]
    total = near = 0.0
    # Rounding must not decide about what lies exactly at the tolerance.
    within_mm = tolerance_mm * (1 + 1e-9)
    for own, other in ((0, 1), (1, 0)):
        area = areas[cell_codes(both[own], cells[own])]
        distances = nearest_mm(cells[own], cells[other], spacing_mm=spacing, within_mm=within_mm)
        total += float(area.sum())
        near += float(area[distances <= within_mm].sum())
    return near / total


def surface_cells(mask: Mask) -> Mask:
    """The cells a surface runs through; one cell more than voxels along each axis, as outside the mask is background."""
    some = np.pad(mask, 1)
    every = some
    for axis in range(mask.ndim):
        low, high = ((slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None)))
        some, every = some[low] | some[high], every[low] & every[high]
    cells: Mask = some & ~every
    return cells


def cell_codes(mask: Mask, cells: Mask) -> NDArray[np.intp]:
    """For each true cell of `surface_cells`, in C order, the bits of its corners that are inside the mask."""
    padded = np.pad(mask, 1)
    flat = padded.ravel()
    first = np.ravel_multi_index(np.nonzero(cells), padded.shape)
    steps = [int(np.prod(padded.shape[axis + 1 :])) for axis in range(mask.ndim)]
    codes = np.zeros(len(first), dtype=np.intp)
    for bit, corner in enumerate(product((0, 1), repeat=mask.ndim)):
        codes |= flat[first + int(np.dot(corner, steps))].astype(np.intp) << bit
    return codes


@lru_cache(maxsize=64)
def surface_areas(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Area in square millimetres of the surface within a cell, for each of the 256 codes of its corners."""
    z, y, x = spacing_mm
    # A triangle's normal, whose length is its area, has one component for each plane.
    scale = (y * x, z * x, z * y)
    scaled = ([tuple(map(mul, normal, scale)) for normal in normals] for normals in _normals())
    return np.array([_total_area(normals) for normals in scaled])


def outline_lengths(spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Length in mm of the outline within a 2 x 2 cell, for each of the 16 codes of its corners (y, x)."""
    y, x = spacing_mm
    diagonal = float(np.hypot(y, x)) / 2
    lengths = np.zeros(16)
    for code in range(1, 15):
        inside = [corner for bit, corner in enumerate(product((0, 1), repeat=2)) if code >> bit & 1]
        if len(inside) != 2:
            lengths[code] = diagonal
        elif inside[0][0] == inside[1][0]:
            lengths[code] = x
        else:
            lengths[code] = y if inside[0][1] == inside[1][1] else 2 * diagonal
    return lengths


@lru_cache(maxsize=1)
def _normals() -> tuple[tuple[Point, ...], ...]:
    """For each code the normals of its triangles, whose lengths are their areas at unit spacing."""
    return tuple(
        tuple(normal for loop in _loops(code) for normal in max(_cut_up(loop), key=_total_area)) for code in range(256)
    )


def _loops(code: int) -> list[list[Point]]:
    """The closed lines in which the surface cuts the faces of a cell; their points halve edges of the cell.

    Where the corners of a face alternate, those of the kind the cell has less of (inside, when even) stand apart.
    """
    inside = {corner: bool(code >> bit & 1) for bit, corner in enumerate(CORNERS)}
    apart = sum(inside.values()) <= 4
    neighbours: dict[Point, list[Point]] = {}
    for ring in _faces():
        kinds = [inside[corner] for corner in ring]
        halves = [tuple((a + b) / 2 for a, b in zip(ring[i - 1], ring[i], strict=True)) for i in range(4)]
        cut = [i for i in range(4) if kinds[i - 1] != kinds[i]]
        # halves[i] and halves[i + 1] are the two edges that meet in corner i.
        lines = [(i, (i + 1) % 4) for i in range(4) if kinds[i] == apart] if len(cut) == 4 else [tuple(cut)] if cut else []
        for first, second in lines:
            neighbours.setdefault(halves[first], []).append(halves[second])
            neighbours.setdefault(halves[second], []).append(halves[first])
    loops = []
    while neighbours:
        loop = [next(iter(neighbours))]
        while step := [point for point in neighbours.pop(loop[-1]) if point in neighbours]:
            loop.append(step[0])
        loops.append(loop)
    return loops


def _faces() -> Iterator[list[tuple[int, ...]]]:
    """The four corners around each of the six faces of a cell."""
    for axis, side in product(range(3), (0, 1)):
        around = []
        for first, second in ((0, 0), (0, 1), (1, 1), (1, 0)):
            corner = [first, second]
            corner.insert(axis, side)
            around.append(tuple(corner))
        yield around


def _cut_up(loop: Sequence[Point]) -> Iterator[list[Point]]:
    """Every way to cut a loop into triangles, as their normals.

    The published areas belong to the cut with the largest area; where several share it, their triangles face the same ways.
    """
    if len(loop) < 3:
        yield []
        return
    for middle in range(1, len(loop) - 1):
        normal = _normal(loop[0], loop[middle], loop[-1])
        for before, after in product(_cut_up(loop[: middle + 1]), list(_cut_up(loop[middle:]))):
            yield [normal, *before, *after]


def _normal(first: Point, second: Point, third: Point) -> Point:
    (az, ay, ax), (bz, by, bx) = ([b - a for a, b in zip(first, end, strict=True)] for end in (second, third))
    return (ay * bx - ax * by) / 2, (ax * bz - az * bx) / 2, (az * by - ay * bz) / 2


def _total_area(normals: Sequence[Point]) -> float:
    return sum(math.hypot(*normal) for normal in normals)
