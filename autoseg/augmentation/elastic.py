"""Elastic deformation: a smooth random displacement of every voxel of a patch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SAMPLES_PER_SIGMA = 2
"""The field is drawn on a grid with so many points within its smoothing: between them it is as good as linear."""
WIDTHS = 4
"""A Gaussian is cut off after so many deviations."""


@dataclass(frozen=True)
class Elastic:
    """White noise, smoothed by `sigmas` and scaled to a largest displacement of `magnitudes`, in voxels along (z, y, x).

    Along an axis without smoothing all voxels are displaced alike. `seed` fixes the noise. Source: Simard et al., ICDAR
    2003; the scaling to a largest displacement is nnU-Net's.
    """

    sigmas: tuple[float, float, float]
    magnitudes: tuple[float, float, float]
    seed: int

    def field(self, patch: Sequence[int]) -> Tensor:
        """The displacement of each voxel of a patch (3, z, y, x) in voxels, on the CPU; its mean is about 0."""
        generator = torch.Generator().manual_seed(self.seed)
        steps = [max(1, math.floor(sigma / SAMPLES_PER_SIGMA)) for sigma in self.sigmas]
        coarse = [-(-size // step) + 1 if sigma else 1 for size, step, sigma in zip(patch, steps, self.sigmas, strict=True)]
        field = torch.randn((3, *coarse), generator=generator)
        for axis, (sigma, step) in enumerate(zip(self.sigmas, steps, strict=True)):
            field = _smoothed(field, sigma / step, axis=1 + axis)
        fine = [(size - 1) * step + 1 for size, step in zip(coarse, steps, strict=True)]
        grown = F.interpolate(field[None], size=fine, mode="trilinear", align_corners=True)[0]
        field = grown[:, : patch[0], : patch[1], : patch[2]].expand(3, *patch)
        field = field - field.mean(dim=(1, 2, 3), keepdim=True)
        largest = field.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-7)
        return field * (torch.tensor(self.magnitudes).view(3, 1, 1, 1) / largest)


def _smoothed(field: Tensor, sigma: float, *, axis: int) -> Tensor:
    """Blurred along one axis, which is continued as a ring, so that all voxels are moved equally far on average."""
    size = field.shape[axis]
    if sigma <= 0 or size == 1:
        return field
    reach = math.ceil(WIDTHS * sigma)
    weights = torch.zeros(size)
    for offset in range(-reach, reach + 1):
        weights[offset % size] += math.exp(-0.5 * (offset / sigma) ** 2)
    matrix = torch.stack([weights.roll(shift) for shift in range(size)])
    smoothed: Tensor = torch.tensordot(field, matrix / weights.sum(), dims=([axis], [0])).movedim(-1, axis)
    return smoothed
