"""The largest patch and batch that a memory budget allows for images of a certain resolution."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autoseg.errors import PlanError
from autoseg.planning.presets import Preset
from autoseg.planning.topology import SMALLEST_EDGE, Topology, cost, topology

START_VOXELS = {2: 2048**2, 3: 256**3}
"""Voxels of the patch that shrinking starts from, by the number of axes."""
FEWEST_VOXELS = 4
"""Voxels that a network is trained on at least: instance norm turns a single one into zero."""


@dataclass(frozen=True)
class Budget:
    """What a plan may spend: a family of networks and the memory of the GPU it is meant for."""

    preset: Preset
    gpu_memory_gb: float

    def cost_limit(self, dimensions: int) -> float:
        """Feature-map elements that the patch may cost with the reference batch."""
        return self.preset.reference_cost(dimensions) * (self.gpu_memory_gb / self.preset.reference_gb)

    def allows(self, sample_cost: int, *, dimensions: int) -> bool:
        """Whether a patch that costs so much may be trained on."""
        return self._charged(sample_cost, dimensions) <= self.cost_limit(dimensions)

    def least_gb(self, sample_cost: int, *, dimensions: int) -> float:
        """The GPU memory from which on a patch that costs so much is allowed."""
        share = self._charged(sample_cost, dimensions) / self.preset.reference_cost(dimensions)
        return share * self.preset.reference_gb

    def _charged(self, sample_cost: int, dimensions: int) -> float:
        if not self.preset.fits_smallest_batch:
            return sample_cost
        return sample_cost / self.preset.reference_batch(dimensions) * self.preset.smallest_batch


@dataclass(frozen=True)
class Sizing:
    """A patch with its network and batch, and the numbers that led there.

    `start_patch` is where shrinking began, `shrunk` how many steps it took. `batch_by_memory` and `batch_by_share` are the
    two limits of `batch_size`, the second one from the `dataset_voxels` of all cases.
    """

    spacing_mm: tuple[float, ...]
    median_shape: tuple[float, ...]
    design: Topology
    sample_cost: int
    batch_size: int
    start_patch: tuple[int, ...]
    shrunk: int
    batch_by_memory: int
    batch_by_share: int
    dataset_voxels: float


def fit(
    spacing_mm: Sequence[float],
    median_shape: Sequence[float],
    *,
    budget: Budget,
    outputs: int,
    dataset_voxels: float,
) -> Sizing:
    """The patch, network and batch for images of `median_shape` voxels at `spacing_mm` (2 or 3 axes).

    The patch starts with the aspect of the voxels, no larger than the median image, and loses a step along the axis that
    covers most of the median image until the budget allows it. The batch fills the budget, up to a share of the
    `dataset_voxels`. Raises PlanError when no network fits, naming the least budget.
    Source: Isensee et al., Nature Methods 18 (2021), supplement.
    """
    start = topology(spacing_mm, _start_size(spacing_mm, median_shape))
    shrunk, design = _first_affordable(spacing_mm, median_shape, budget=budget, outputs=outputs)
    price = cost(design, budget.preset, outputs=outputs)
    by_memory, by_share = batch_limits(design, price, budget=budget, dataset_voxels=dataset_voxels)
    return Sizing(
        spacing_mm=tuple(spacing_mm),
        median_shape=tuple(float(n) for n in median_shape),
        design=design,
        sample_cost=price,
        batch_size=max(min(by_memory, by_share), budget.preset.smallest_batch),
        start_patch=start.patch_size,
        shrunk=shrunk,
        batch_by_memory=by_memory,
        batch_by_share=by_share,
        dataset_voxels=dataset_voxels,
    )


def batch_limits(design: Topology, price: int, *, budget: Budget, dataset_voxels: float) -> tuple[int, int]:
    """The batch that the budget allows where a sample costs `price`, and the one that the size of the data set allows."""
    dimensions, preset = len(design.patch_size), budget.preset
    by_memory = round(budget.cost_limit(dimensions) / price * preset.reference_batch(dimensions))
    return by_memory, round(dataset_voxels * preset.dataset_share / math.prod(map(float, design.patch_size)))


def _start_size(spacing_mm: Sequence[float], median_shape: Sequence[float]) -> tuple[float, ...]:
    """As many voxels along each axis as make a cube (square) of the start's volume, within the median image.

    A median image of fewer than FEWEST_VOXELS gets the smallest edge along each axis.
    """
    density = [1 / mm for mm in spacing_mm]
    axes = len(density)
    scale = (START_VOXELS[axes] / math.prod(density)) ** (1 / axes)
    size = tuple(min(round(d * scale), n) for d, n in zip(density, median_shape, strict=True))
    return size if math.prod(size) >= FEWEST_VOXELS else (SMALLEST_EDGE,) * axes


def _first_affordable(
    spacing_mm: Sequence[float], median_shape: Sequence[float], *, budget: Budget, outputs: int
) -> tuple[int, Topology]:
    """The first design on the way down that the budget allows, and its place there."""
    for steps, design in enumerate(_downwards(spacing_mm, median_shape)):
        if budget.allows(cost(design, budget.preset, outputs=outputs), dimensions=len(spacing_mm)):
            return steps, design
    path = shrinking(spacing_mm, median_shape)
    raise too_small(budget, least=least_memory(path, preset=budget.preset, outputs=outputs))


def shrinking(spacing_mm: Sequence[float], median_shape: Sequence[float]) -> tuple[Topology, ...]:
    """The designs that shrinking passes through, from the start to the last that halves its feature maps at all."""
    return tuple(_downwards(spacing_mm, median_shape))


def _downwards(spacing_mm: Sequence[float], median_shape: Sequence[float]) -> Iterator[Topology]:
    design = topology(spacing_mm, _start_size(spacing_mm, median_shape))
    smallest = min(SMALLEST_EDGE, *design.patch_size)
    yield design
    while True:
        design = shrink(design, spacing_mm=spacing_mm, median_shape=median_shape)
        if design.stages < 2 or min(design.patch_size) < smallest:
            return
        yield design


def least_memory(path: Sequence[Topology], *, preset: Preset, outputs: int) -> float:
    """The GPU memory in GB that the cheapest design on the way down asks for, rounded up to hundredths."""
    cheapest = min(cost(design, preset, outputs=outputs) for design in path)
    needed = Budget(preset=preset, gpu_memory_gb=preset.reference_gb)
    return math.ceil(needed.least_gb(cheapest, dimensions=len(path[0].patch_size)) * 100) / 100


def shrink(design: Topology, *, spacing_mm: Sequence[float], median_shape: Sequence[float]) -> Topology:
    """The design with the next smaller patch along the axis that covers most of the median image (the last of equals).

    The step is the divisor of the patch after a step by its own divisor: 256 goes to 224 rather than to 192.
    """
    patch = list(design.patch_size)
    shares = [n / median for n, median in zip(patch, median_shape, strict=True)]
    axis = max(range(len(patch)), key=lambda a: (shares[a], a))
    tried = list(patch)
    tried[axis] -= design.divisor[axis]
    patch[axis] -= topology(spacing_mm, tried).divisor[axis]
    return topology(spacing_mm, patch)


def too_small(budget: Budget, *, least: float) -> PlanError:
    """The error for a budget under `least` GB."""
    return PlanError(
        f"a budget of {budget.gpu_memory_gb:g} GB is too small for any network of preset {budget.preset.name!r} on this "
        f"data set. The least that would do is {least:g} GB (--gpu-memory {least:g})."
    )
