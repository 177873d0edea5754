"""A made-up head with a tumour: what tissue is where, and how four MRI sequences see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from autoseg.data.image import Shape

Field = NDArray[np.float32]
"""A number for each voxel (z, y, x)."""
Box = tuple[slice, slice, slice]
Millimetres = tuple[float, float, float]

FIELD_OF_VIEW_MM: Millimetres = (155.0, 240.0, 240.0)
"""The part of space that any phantom covers, (z, y, x): the BraTS grid at 1 mm."""
BRAIN_MM: Millimetres = (63.0, 84.0, 67.0)
"""Semi-axes of an average brain."""
NECROTIC, EDEMA, ENHANCING = 1, 2, 4
"""Label values as BraTS has them."""
SEQUENCES = ("FLAIR", "T1w", "t1gd", "T2w")

BRIGHTNESS: dict[str, tuple[float, float, float, float]] = {
    "csf": (0.18, 0.22, 0.22, 1.00),
    "grey": (0.62, 0.52, 0.55, 0.60),
    "white": (0.50, 0.72, 0.75, 0.42),
    "edema": (0.90, 0.50, 0.53, 0.80),
    "necrotic": (0.50, 0.34, 0.35, 0.88),
    "enhancing": (0.74, 0.55, 1.05, 0.66),
    # Neither of these is tumour: bright spots of old age and vessels that take up contrast agent.
    "spot": (0.88, 0.60, 0.62, 0.72),
    "vessel": (0.36, 0.60, 1.08, 0.45),
}
"""How bright each tissue is in FLAIR, T1, T1 with contrast agent and T2."""
LESIONS = ("edema", "necrotic", "enhancing")


@dataclass(frozen=True, eq=False)
class Head:
    """A patient without noise. `box` holds the brain; the maps lie on it.

    `brain` says which voxels are imaged, `labels` what the reference says, and `shares` which part of each voxel is what
    tissue (they sum to 1, so borders are blurred as in a scanner).
    """

    shape: Shape
    box: Box
    brain: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    shares: dict[str, Field]


@dataclass(frozen=True)
class _Tumour:
    """Where a tumour lies and how large its parts are, in mm and as shares of the core's radius."""

    centre_mm: Millimetres
    core_centre_mm: Millimetres
    radii_mm: Millimetres
    core_radii_mm: Millimetres
    rim: float
    enhances: bool


def draw_head(shape: Shape, rng: np.random.Generator) -> Head:
    """A head on a grid of `shape` that fills the field of view. The same generator gives the same head at any `shape`."""
    size = rng.uniform(0.93, 1.05, size=3) * BRAIN_MM
    box = _box_within(shape, size * 1.12)
    space = _Space(shape, box)
    radius = space.radius((0, 0, 0), size) * (1 + 0.035 * space.field(rng, 45))
    brain = radius < 1
    shares = _healthy(space, radius=radius, rng=rng)
    tumour = _draw_tumour(size, rng)
    whole = space.radius(tumour.centre_mm, tumour.radii_mm) + 0.16 * space.field(rng, 24)
    core = space.radius(tumour.core_centre_mm, tumour.core_radii_mm) + 0.14 * space.field(rng, 18)
    rim = tumour.rim * np.clip(1 + 0.3 * space.field(rng, 22), 0.4, 1.6)
    labels = np.zeros(radius.shape, dtype=np.uint8)
    # Ventricles hold no tumour.
    labels[(whole < 1) & brain & (shares["csf"] < 0.5)] = EDEMA
    labels[(core < 1) & (labels == EDEMA)] = ENHANCING if tumour.enhances else NECROTIC
    labels[(core < 1 - rim) & (labels > 0)] = NECROTIC
    inside = labels > 0
    in_core = _soft(1 - core, unit_mm=min(tumour.core_radii_mm)) * inside
    in_rim = in_core * _soft(core - 1 + rim, unit_mm=min(tumour.core_radii_mm)) * tumour.enhances
    tumour_share = np.maximum(_soft(1 - whole, unit_mm=min(tumour.radii_mm)) * inside, in_core)
    shares = {name: share * (1 - tumour_share) for name, share in shares.items()}
    shares |= {"edema": tumour_share - in_core, "necrotic": in_core - in_rim, "enhancing": in_rim}
    return Head(shape, box, brain, labels, shares)


def draw_scan(head: Head, rng: np.random.Generator) -> NDArray[np.int16]:
    """The four SEQUENCES (channel, z, y, x) of `head` on its whole grid, 0 outside the brain and at least 1 inside.

    Tissue contrast, noise, scale and offset of the scanner and a slow drift of brightness differ
    for each case and sequence.
    """
    space = _Space(head.shape, head.box)
    scan = np.zeros((len(SEQUENCES), *head.shape), dtype=np.int16)
    tissues = _brightness(rng)
    mottle = 0.05 * space.field(rng, 7)
    plans = [_Scanner.drawn(rng) for _ in SEQUENCES]
    drifts = [space.field(rng, 90) for _ in SEQUENCES]
    for channel, scanner in enumerate(plans):
        signal = sum(share * np.float32(tissues[name][channel]) for name, share in head.shares.items()) + mottle
        signal *= np.exp(np.float32(scanner.drift) * drifts[channel])
        signal += rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(scanner.noise)
        stored = np.maximum(scanner.scale * (signal + scanner.offset), 1)
        scan[channel][head.box] = np.where(head.brain, stored, 0)
    return scan


@dataclass(frozen=True)
class _Scanner:
    """How one sequence of one case was acquired; `noise` and `drift` are relative to bright tissue."""

    scale: float
    offset: float
    noise: float
    drift: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "_Scanner":
        scale = 300 * np.exp(np.clip(rng.normal(0, 0.5), -1.2, 1.2))
        return cls(float(scale), rng.uniform(0.0, 0.4), rng.uniform(0.04, 0.09), rng.uniform(0.05, 0.15))


def _brightness(rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """BRIGHTNESS with this case's deviations; lesions stand out from white matter more or less."""
    usual = {name: np.array(values) * (1 + 0.05 * rng.standard_normal(4)) for name, values in BRIGHTNESS.items()}
    for name in LESIONS:
        usual[name] = usual["white"] + rng.uniform(0.75, 1.15) * (usual[name] - usual["white"])
    return usual


def _healthy(space: "_Space", *, radius: Field, rng: np.random.Generator) -> dict[str, Field]:
    """Shares of the tissues of a brain without tumour."""
    depth = (1 - radius) * float(np.mean(BRAIN_MM))
    folds = space.field(rng, 13)
    swelling = rng.uniform(0.7, 1.5)
    ventricles, nuclei = np.zeros_like(radius), np.zeros_like(radius)
    for side in (-1, 1):
        ventricle = space.radius((4, 4, side * 9), swelling * np.array((11, 30, 6)))
        ventricles += _soft(1 - ventricle, unit_mm=6)
        nuclei += _soft(1 - space.radius((-2, -6, side * 25), (11, 18, 9)), unit_mm=9)
    wishes = {
        "csf": np.maximum(ventricles, _soft(1.0 + 2.5 * folds - depth)),
        "vessel": _soft(4 * (space.field(rng, 12) - 2.6)),
        "spot": _soft(3 * (space.field(rng, 16) - rng.uniform(2.3, 3.2))) * (depth > 4),
        "grey": np.maximum(_soft(8 + 5 * folds - depth), nuclei),
    }
    left, shares = np.ones_like(radius), {}
    for name, wish in wishes.items():
        shares[name] = np.minimum(wish, 1) * left
        left = left - shares[name]
    return shares | {"white": left}


def _draw_tumour(brain_mm: NDArray[np.float64], rng: np.random.Generator) -> _Tumour:
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    centre = direction * brain_mm * rng.uniform(0.2, 0.5)
    radius = rng.uniform(24, 36)
    core_radius = radius * rng.uniform(0.7, 0.88)
    shift = rng.uniform(-0.15, 0.15, size=3) * radius
    return _Tumour(
        centre_mm=_triple(centre),
        core_centre_mm=_triple(centre + shift),
        radii_mm=_triple(radius * rng.uniform(0.85, 1.15, size=3)),
        core_radii_mm=_triple(core_radius * rng.uniform(0.85, 1.15, size=3)),
        rim=rng.uniform(0.22, 0.36),
        enhances=bool(rng.random() > 0.2),
    )


def _triple(values: Sequence[float] | NDArray[np.float64]) -> Millimetres:
    z, y, x = (float(value) for value in values)
    return z, y, x


def _soft(inside: Field, *, unit_mm: float = 1.0) -> Field:
    """1 well inside a border, 0 well outside, linear across 2.5 mm; `inside` is the depth in units of `unit_mm`."""
    share: Field = np.clip(inside * np.float32(unit_mm / 2.5) + np.float32(0.5), 0, 1)
    return share


class _Space:
    """A box of the voxel grid, with positions in mm from the middle of the field of view."""

    def __init__(self, shape: Shape, box: Box) -> None:
        self._positions = [p[cut].astype(np.float32) for p, cut in zip(_positions(shape), box, strict=True)]

    def radius(self, centre_mm: Sequence[float], radii_mm: Sequence[float] | NDArray[np.float64]) -> Field:
        """Distance of each voxel from `centre_mm` in units of the ellipsoid's semi-axes: below 1 is inside."""
        z, y, x = (
            ((p - centre) / radius).astype(np.float32) ** 2
            for p, centre, radius in zip(self._positions, centre_mm, radii_mm, strict=True)
        )
        squared: Field = z[:, None, None] + y[None, :, None] + x[None, None, :]
        radius: Field = np.sqrt(squared)
        return radius

    def field(self, rng: np.random.Generator, step_mm: float) -> Field:
        """A smooth random field of mean 0 and deviation about 1: cubic B-splines over random nodes `step_mm` apart."""
        weights = [
            _spline_weights(tuple(map(float, p)), step_mm, extent)
            for p, extent in zip(self._positions, FIELD_OF_VIEW_MM, strict=True)
        ]
        values: Field = rng.standard_normal(tuple(w.shape[1] for w in weights), dtype=np.float32)
        for axis in (2, 1, 0):
            values = np.moveaxis(np.tensordot(weights[axis], values, axes=(1, axis)), 0, axis)
        scaled: Field = np.multiply(values, np.float32(_SPLINE_GAIN), order="C")
        return scaled


_SPLINE_GAIN = 0.4794**-1.5
"""Brings the deviation of a field to 1: the squared weights of a cubic B-spline sum to 0.4794 on average, in each axis."""


def _positions(shape: Shape) -> list[NDArray[np.float64]]:
    """Where the voxel centres lie along each axis, in mm from the middle of the field of view."""
    return [((np.arange(size) + 0.5) / size - 0.5) * extent for size, extent in zip(shape, FIELD_OF_VIEW_MM, strict=True)]


def _box_within(shape: Shape, half_mm: NDArray[np.float64]) -> Box:
    """The voxels at most `half_mm` from the middle along each axis."""
    near = [np.flatnonzero(np.abs(p) <= half) for p, half in zip(_positions(shape), half_mm, strict=True)]
    z, y, x = (slice(int(index[0]), int(index[-1]) + 1) for index in near)
    return z, y, x


@lru_cache(maxsize=64)
def _spline_weights(positions_mm: tuple[float, ...], step_mm: float, extent_mm: float) -> NDArray[np.float32]:
    """Weight of each node for each position, (positions, nodes)."""
    nodes = np.arange(-1, int(np.ceil(extent_mm / step_mm)) + 3) * step_mm - extent_mm / 2
    gap = np.abs(np.array(positions_mm)[:, None] - nodes) / step_mm
    near, far = 2 / 3 - gap**2 + gap**3 / 2, (2 - gap) ** 3 / 6
    return np.where(gap < 1, near, np.where(gap < 2, far, 0)).astype(np.float32)
