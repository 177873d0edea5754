"""Changes of intensity, each a frozen value that can be kept, compared and applied again.

`apply` changes an image (channel, z, y, x) in place, on whatever device it lies. Values are per channel; None leaves a
channel as it is. What the transforms are and how they are parameterised follows nnU-Net (Isensee et al. 2021).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

PerChannel = tuple[float | None, ...]
SMALLEST = 1e-7
"""Ranges and deviations below this count as this, so that a constant channel stays constant."""


class IntensityStep(Protocol):
    """A drawn change of intensity."""

    def apply(self, image: Tensor) -> None:
        """Change `image` (channel, z, y, x) in place."""
        ...


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of deviation `sigma` on every channel; `seed` fixes the noise itself on one kind of device."""

    sigma: float
    seed: int

    def apply(self, image: Tensor) -> None:
        """Add the noise."""
        generator = torch.Generator(image.device).manual_seed(self.seed)
        noise = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
        image.add_(noise, alpha=self.sigma)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur with a deviation in voxels for each channel and axis (z, y, x); axes of one voxel are left alone."""

    sigmas: tuple[tuple[float, float, float] | None, ...]

    def apply(self, image: Tensor) -> None:
        """Blur one axis after the other."""
        for channel, sigmas in zip(image, self.sigmas, strict=True):
            if sigmas is not None:
                blurred = channel
                for axis, sigma in enumerate(sigmas):
                    blurred = _blurred(blurred, sigma, axis=axis)
                channel.copy_(blurred)


def _blurred(volume: Tensor, sigma: float, *, axis: int) -> Tensor:
    size = volume.shape[axis]
    # The odd kernel size nearest to 6 sigma + 1/2, as far as the axis can be mirrored.
    radius = min(max(1, int(3 * sigma + 0.25)), size - 1)
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(radius + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    blurred = volume * (weights[0] / total)
    for offset in range(1, radius + 1):
        share, inner = weights[offset] / total, size - offset
        blurred.narrow(axis, offset, inner).add_(volume.narrow(axis, 0, inner), alpha=share)
        blurred.narrow(axis, 0, inner).add_(volume.narrow(axis, offset, inner), alpha=share)
        # Beyond either end the volume is continued as its mirror image about the last voxel.
        blurred.narrow(axis, 0, offset).add_(volume.narrow(axis, 1, offset).flip(axis), alpha=share)
        blurred.narrow(axis, inner, offset).add_(volume.narrow(axis, inner - 1, offset).flip(axis), alpha=share)
    return blurred


@dataclass(frozen=True)
class Brightness:
    """Each channel times its factor."""

    factors: PerChannel

    def apply(self, image: Tensor) -> None:
        """Multiply."""
        for channel, factor in zip(image, self.factors, strict=True):
            if factor is not None:
                channel.mul_(factor)


@dataclass(frozen=True)
class Shift:
    """Each channel plus its value."""

    values: PerChannel

    def apply(self, image: Tensor) -> None:
        """Add."""
        for channel, value in zip(image, self.values, strict=True):
            if value is not None:
                channel.add_(value)


@dataclass(frozen=True)
class Contrast:
    """Each channel's distance from its mean times its factor, clipped to the range it had."""

    factors: PerChannel

    def apply(self, image: Tensor) -> None:
        """Stretch or squeeze about the mean."""
        for channel, factor in zip(image, self.factors, strict=True):
            if factor is not None:
                low, high = torch.aminmax(channel)
                shift = _mean(channel) * (1 - factor)
                channel.mul_(factor).add_(shift).clamp_(low, high)


@dataclass(frozen=True)
class LowResolution:
    """Channels seen through a grid coarser by their zoom (0 to 1) along `axes`: nearest voxels down, linear back up."""

    zooms: PerChannel
    axes: tuple[int, ...] = (0, 1, 2)

    def apply(self, image: Tensor) -> None:
        """Sample down and up again."""
        shape = image.shape[1:]
        for channel, zoom in zip(image, self.zooms, strict=True):
            if zoom is not None:
                coarse = [max(1, round(size * (zoom if axis in self.axes else 1))) for axis, size in enumerate(shape)]
                down = F.interpolate(channel[None, None], size=coarse, mode="nearest-exact")
                channel.copy_(F.interpolate(down, size=shape, mode="trilinear", align_corners=False)[0, 0])


@dataclass(frozen=True)
class Gamma:
    """Each channel, scaled to 0..1, to the power of its exponent, then given back its range, mean and deviation.

    With `inverted` that happens to the negative image, so that bright parts are spread instead of dark ones.
    """

    exponents: PerChannel
    inverted: bool = False

    def apply(self, image: Tensor) -> None:
        """Bend the intensities."""
        for channel, exponent in zip(image, self.exponents, strict=True):
            if exponent is not None:
                _bend(channel, exponent, inverted=self.inverted)


def _bend(channel: Tensor, exponent: float, *, inverted: bool) -> None:
    mean, deviation = _mean_and_deviation(channel)
    low, high = torch.aminmax(channel)
    span = (high - low).clamp_min(SMALLEST)
    # The negative image runs from the highest value down; scaled to 0..1 it is (high - v) / span.
    channel.sub_(high if inverted else low).mul_((-1 if inverted else 1) / span).clamp_min_(0).pow_(exponent)
    # What the power did to the range is undone together with what it did to mean and deviation: both are linear.
    bent_mean, bent_deviation = _mean_and_deviation(channel)
    scale = deviation / torch.maximum(bent_deviation, SMALLEST / span)
    scale = -scale if inverted else scale
    channel.mul_(scale).add_(mean - bent_mean * scale)


@dataclass(frozen=True)
class Absent:
    """Channels taken away: each holds its value everywhere, the one that a channel without any signal has."""

    values: PerChannel

    def apply(self, image: Tensor) -> None:
        """Fill them."""
        for channel, value in zip(image, self.values, strict=True):
            if value is not None:
                channel.fill_(value)


def _mean(channel: Tensor) -> Tensor:
    """Summed in the same order for any number of threads: no part of the result is shared between them."""
    return channel.mean(2).mean(1).mean()


def _mean_and_deviation(channel: Tensor) -> tuple[Tensor, Tensor]:
    mean = _mean(channel)
    squares = torch.linalg.vector_norm(channel, dim=2).double().square().sum()
    count = channel.numel()
    variance = (squares - count * mean.double() ** 2) / max(count - 1, 1)
    return mean, variance.clamp_min(0).sqrt().to(channel.dtype)
