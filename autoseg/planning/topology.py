"""How often and along which axes a U-Net halves its feature maps, and what a sample of a patch costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from autoseg.planning.presets import Preset

SMALLEST_EDGE = 4
"""Feature maps are not halved below this many voxels."""


@dataclass(frozen=True)
class Topology:
    """The stages of a U-Net for a patch; tuples run from full resolution to the bottleneck, one entry per axis within.

    `patch_size` (voxels) is the smallest size not below the one asked for that all strides divide.
    """

    patch_size: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]

    @property
    def stages(self) -> int:
        """Resolutions, the bottleneck included."""
        return len(self.strides)

    @property
    def divisor(self) -> tuple[int, ...]:
        """What each patch axis must be a multiple of: the product of its strides."""
        return total_stride(self.strides)


def total_stride(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Product of the strides of each axis."""
    return tuple(math.prod(axis) for axis in zip(*strides, strict=True))


def topology(spacing_mm: Sequence[float], size: Sequence[float]) -> Topology:
    """The U-Net for a patch of `size` voxels (2 or 3 axes; medians need not be whole).

    Axes are halved together once their spacing is less than twice the finest one's that can still be halved. A kernel
    has one voxel along an axis until its spacing is less than twice the finest of all; the bottleneck has three.
    Source: Isensee et al., Nature Methods 18 (2021), supplement.
    """
    return _topology(tuple(spacing_mm), tuple(size))


# An explanation plans for many budgets, which share most of the designs that are tried on the way.
@lru_cache(maxsize=1 << 16)
def _topology(spacing_mm: tuple[float, ...], size: tuple[float, ...]) -> Topology:
    spacing, edge = list(spacing_mm), list(size)
    axes = range(len(spacing))
    kernel = [1] * len(spacing)
    strides = [tuple(1 for _ in axes)]
    kernels = []
    while halved := _axes_to_halve(spacing, edge):
        finest = min(spacing)
        kernel = [3 if kernel[axis] == 3 or spacing[axis] / finest < 2 else 1 for axis in axes]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in axes))
        for axis in halved:
            spacing[axis] *= 2
            edge[axis] = math.ceil(edge[axis] / 2)
    kernels.append(tuple(3 for _ in axes))
    patch = tuple(math.ceil(n / d) * d for n, d in zip(size, total_stride(strides), strict=True))
    return Topology(patch_size=patch, strides=tuple(strides), kernels=tuple(kernels))


def _axes_to_halve(spacing: Sequence[float], edge: Sequence[float]) -> list[int]:
    """The axes that the next stage halves; empty at the bottleneck."""
    long_enough = [axis for axis in range(len(edge)) if edge[axis] >= 2 * SMALLEST_EDGE]
    if not long_enough:
        return []
    finest = min(spacing[axis] for axis in long_enough)
    halved = [axis for axis in long_enough if spacing[axis] / finest < 2]
    if len(halved) == 1 and edge[halved[0]] < 3 * SMALLEST_EDGE:
        return []
    return halved


def cost(design: Topology, preset: Preset, *, outputs: int) -> int:
    """Feature-map elements that one sample fills in the forward pass, nnU-Net's stand-in for memory.

    `outputs` counts the entries of nnU-Net's label table (background and ignore included, each region once). Input
    channels and the heads of deep supervision do not enter.
    Source: closed form of what nnU-Net counts in a network, checked against its plans.
    """
    return network_cost(
        design.patch_size,
        strides=design.strides,
        features=preset.features(design.stages, dimensions=len(design.patch_size)),
        encoder_blocks=preset.blocks(design.stages),
        decoder_blocks=(preset.decoder_blocks,) * (design.stages - 1),
        is_residual=preset.kind == "residual_unet",
        outputs=outputs,
    )


def network_cost(
    patch_size: Sequence[int],
    *,
    strides: Sequence[Sequence[int]],
    features: Sequence[int],
    encoder_blocks: Sequence[int],
    decoder_blocks: Sequence[int],
    is_residual: bool,
    outputs: int,
) -> int:
    """The same for any U-Net; `decoder_blocks` run from full resolution on.

    A decoder stage also fills what it upsamples.
    """
    voxels, maps = math.prod(patch_size), []
    for stride, feature in zip(strides, features, strict=True):
        voxels //= math.prod(stride)
        maps.append(voxels * feature)
    decoder = sum((b + 1) * m for b, m in zip(decoder_blocks, maps[:-1], strict=True)) + outputs * math.prod(patch_size)
    encoder = sum(b * m for b, m in zip(encoder_blocks, maps, strict=True))
    return decoder + (2 * encoder + _shortcuts(strides, features, maps) if is_residual else encoder)


def _shortcuts(strides: Sequence[Sequence[int]], features: Sequence[int], maps: Sequence[int]) -> int:
    """Elements of a residual network's stem, and of the shortcuts that change resolution or channels."""
    changes = (features[i] != features[i - 1] or math.prod(strides[i]) > 1 for i in range(1, len(maps)))
    return maps[0] + sum(m for m, changed in zip(maps[1:], changes, strict=True) if changed)
