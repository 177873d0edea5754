"""An image in memory: its voxels as (channel, z, y, x) and the geometry that travels with them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Spacing = tuple[float, float, float]
"""Voxel size in mm along (z, y, x)."""
Shape = tuple[int, int, int]
"""Voxels along (z, y, x)."""

FLAT_SPACING_MM = 999.0
"""Slice distance given to 2-D images, which have none; it marks a data set as 2-D for the planner."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the voxels of an image lie.

    `affine` (4x4, float64) maps voxel indices in file order (x, y, z) to millimetres in RAS+ world space, as NIfTI and
    nibabel define it. `nifti_header` holds the original header of a NIfTI file byte for byte, so that a prediction can
    be written with the very same one; None for other formats.
    """

    shape: Shape
    spacing_mm: Spacing
    affine: NDArray[np.float64]
    nifti_header: bytes | None = None

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """World position (x, y, z) of the first voxel's centre."""
        x, y, z = self.affine[:3, 3]
        return float(x), float(y), float(z)

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vectors of the voxel axes (x, y, z) in world space, as columns (3x3)."""
        scaled = self.affine[:3, :3]
        lengths = np.linalg.norm(scaled, axis=0)
        return scaled / np.where(lengths > 0, lengths, 1)

    @property
    def orientation(self) -> str:
        """Which way the voxel axes (x, y, z) point, e.g. "LPS"; the nearest anatomical axis where they are oblique."""
        return "".join(_axis_codes(self.direction))

    @property
    def is_flat(self) -> bool:
        """Whether this is a 2-D image (one slice, no slice distance)."""
        return self.shape[0] == 1 and self.spacing_mm[0] == FLAT_SPACING_MM


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels (channel, z, y, x) of any number type, and their geometry."""

    voxels: NDArray[np.generic]
    geometry: Geometry


@dataclass(frozen=True)
class Mismatch:
    """One field in which two grids differ, with both values as text. A drift is too small to matter."""

    field: Literal["shape", "spacing", "origin", "direction"]
    first: str
    second: str
    is_drift: bool


DRIFT = 1e-3
"""Largest difference that counts as rounding in a header: mm for spacing and origin, cosine for direction."""


def compare_grids(first: Geometry, second: Geometry) -> list[Mismatch]:
    """The fields in which two grids differ by more than rounding of single precision; empty if they agree."""
    if first.shape != second.shape:
        return [Mismatch("shape", _text(first.shape), _text(second.shape), is_drift=False)]
    pairs: list[tuple[Literal["spacing", "origin", "direction"], NDArray[np.float64], NDArray[np.float64]]] = [
        ("spacing", np.array(first.spacing_mm), np.array(second.spacing_mm)),
        ("origin", np.array(first.origin_mm), np.array(second.origin_mm)),
        ("direction", first.direction.ravel(), second.direction.ravel()),
    ]
    found = []
    for field, a, b in pairs:
        gap = float(np.abs(a - b).max())
        if gap > 1e-5 * max(1.0, float(np.abs(a).max())):
            found.append(Mismatch(field, _text(a), _text(b), is_drift=gap < DRIFT))
    return found


def reorient(voxels: NDArray[np.generic], *, current: str, wanted: str) -> NDArray[np.generic]:
    """The voxels (..., z, y, x) with axes swapped and flipped from the `current` orientation to the `wanted` one.

    Both are codes such as "LPS". A view, not a copy. Calling it with the two exchanged undoes it.
    """
    steps = _axis_steps(current, wanted)
    leading = voxels.ndim - 3
    # Spatial axes are stored (z, y, x) while codes name (x, y, z).
    order = [leading + 2 - steps[2 - axis][0] for axis in range(3)]
    turned = voxels.transpose(*range(leading), *order)
    flipped_axes = tuple(leading + axis for axis in range(3) if steps[2 - axis][1] < 0)
    return np.flip(turned, flipped_axes)


def reorient_spacing(spacing: Spacing, *, current: str, wanted: str) -> Spacing:
    """The spacing (z, y, x) of an image after `reorient`."""
    steps = _axis_steps(current, wanted)
    z, y, x = (spacing[2 - steps[axis][0]] for axis in (2, 1, 0))
    return z, y, x


_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}


def _axis_steps(current: str, wanted: str) -> list[tuple[int, int]]:
    """For each axis (x, y, z) of the wanted orientation: the current axis it comes from, and 1 or -1 for a flip."""
    steps = []
    for code in wanted:
        same = code in current
        steps.append((current.index(code if same else _OPPOSITE[code]), 1 if same else -1))
    return steps


def _axis_codes(direction: NDArray[np.float64]) -> list[str]:
    """The anatomical direction nearest to each column, every world axis used once (the clearest axis chooses first)."""
    codes = ["", "", ""]
    weights = np.abs(direction).copy()
    for _ in range(3):
        world, voxel = np.unravel_index(int(np.argmax(weights)), (3, 3))
        codes[voxel] = "RAS"[world] if direction[world, voxel] >= 0 else "LPI"[world]
        weights[world, :] = -1
        weights[:, voxel] = -1
    return codes


def _text(values: tuple[float, ...] | NDArray[np.float64]) -> str:
    return " x ".join(f"{float(value):.6g}" for value in values)
