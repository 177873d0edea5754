"""The parts U-Nets are made of, in two and three dimensions."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from autoseg.extend import resolve
from autoseg.networks.norms import InstanceNorm
from autoseg.planning.tape import SAFE_VOXELS

Norm = Literal["instance", "batch", "group"]

CONVOLUTIONS: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
DROPOUTS: dict[int, type[nn.Module]] = {2: nn.Dropout2d, 3: nn.Dropout3d}
POOLS: dict[int, type[nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
NORM_EPSILON = 1e-5
GROUPS = 8
"""Groups of feature maps that group norm makes; fewer where they do not divide the maps."""


def _instance(features: int, dimensions: int) -> nn.Module:
    return InstanceNorm(features, epsilon=NORM_EPSILON)


def _batch(features: int, dimensions: int) -> nn.Module:
    kind = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
    return kind(features, eps=NORM_EPSILON, affine=True)


def _group(features: int, dimensions: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(features, GROUPS), features, eps=NORM_EPSILON)


NORMS: dict[Norm, Callable[[int, int], nn.Module]] = {"instance": _instance, "batch": _batch, "group": _group}
"""Called with the number of feature maps and of dimensions."""


LEAK = 0.01
"""Slope of the leaky ReLU below zero; He initialisation allows for it."""


class ConvBlock(nn.Module):
    """Convolution, dropout where asked for, normalisation, leaky ReLU unless `activated` is False.

    Maps (B, in, *n) to (B, out, *ceil(n / stride)).
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        norm: Norm,
        dropout: float = 0.0,
        bias: bool = True,
        activated: bool = True,
    ) -> None:
        super().__init__()
        dimensions = len(kernel)
        # Odd kernels only, so that the padding keeps the voxels of input and output aligned.
        padding = [edge // 2 for edge in kernel]
        self.conv = CONVOLUTIONS[dimensions](
            in_channels, out_channels, tuple(kernel), stride=tuple(stride), padding=padding, bias=bias
        )
        self.dropout = DROPOUTS[dimensions](dropout) if dropout else nn.Identity()
        self.norm = NORMS[norm](out_channels, dimensions)
        self.activation = nn.LeakyReLU(LEAK, inplace=True) if activated else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, out_channels, *grid)."""
        result: Tensor = self.activation(self.norm(self.dropout(convolved(self.conv, features))))
        return result


def convolved(convolution: nn.Module, features: Tensor) -> Tensor:
    """What a convolution makes of the features."""
    found: Tensor
    is_small = features.device.type == "cpu" and features.dim() == 5 and features.shape[2:].numel() <= SAFE_VOXELS
    if is_small and convolution.weight.dtype == torch.float32:  # weights of fewer bits only predict: half.py, int8.py
        # In bf16 the gradient of the weights comes out as garbage there, now and then (torch 2.13 with oneDNN).
        with torch.autocast("cpu", enabled=False):
            found = convolution(features.float())
    else:
        found = convolution(features)
    return found


class ConvStack(nn.Module):
    """Several ConvBlocks in a row; only the first one is strided."""

    def __init__(
        self,
        *,
        blocks: int,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        norm: Norm,
        dropout: float,
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(
                ConvBlock(
                    in_channels=in_channels if index == 0 else out_channels,
                    out_channels=out_channels,
                    kernel=kernel,
                    stride=stride if index == 0 else [1] * len(kernel),
                    norm=norm,
                    dropout=dropout,
                )
                for index in range(blocks)
            )
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, out_channels, *grid)."""
        result: Tensor = self.convs(features)
        return result


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to the input before the last leaky ReLU.

    Where the resolution changes the input is average-pooled, where the number of channels changes it goes through a
    1x1 convolution and a normalisation. The second normalisation starts at zero, so that a fresh block passes its input.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        norm: Norm,
        dropout: float,
    ) -> None:
        super().__init__()
        ones = [1] * len(kernel)
        self.conv1 = ConvBlock(
            in_channels=in_channels, out_channels=out_channels, kernel=kernel, stride=stride, norm=norm, dropout=dropout
        )
        self.conv2 = ConvBlock(
            in_channels=out_channels, out_channels=out_channels, kernel=kernel, stride=ones, norm=norm, activated=False
        )
        skip: list[nn.Module] = []
        if any(step != 1 for step in stride):
            skip.append(POOLS[len(kernel)](tuple(stride), tuple(stride)))
        if in_channels != out_channels:
            skip.append(
                ConvBlock(
                    in_channels=in_channels,
                    out_channels=out_channels,
                    kernel=ones,
                    stride=ones,
                    norm=norm,
                    bias=False,
                    activated=False,
                )
            )
        self.skip = nn.Sequential(*skip) if skip else nn.Identity()
        self.activation = nn.LeakyReLU(LEAK, inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, out_channels, *grid)."""
        result: Tensor = self.activation(self.conv2(self.conv1(features)) + self.skip(features))
        return result


def _he_normal(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, a=LEAK)


def _he_uniform(weight: Tensor) -> None:
    nn.init.kaiming_uniform_(weight, a=LEAK)


INITIALISATIONS: dict[str, Callable[[Tensor], object]] = {
    "he_normal": _he_normal,
    "he_uniform": _he_uniform,
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
}
"""How the weights of convolutions are drawn.

Source: He et al., ICCV 2015; Glorot and Bengio, AISTATS 2010 (Xavier); Saxe et al., ICLR 2014 (orthogonal).
"""


@torch.no_grad()
def initialise(network: nn.Module, how: str) -> None:
    """Draw the weights of every convolution, its biases zero; zero for the last norm of each residual block.

    `how` names an entry of INITIALISATIONS or `package.module:function`. Draws from torch's current CPU generator.
    Source: nnU-Net for the zeroed norms.
    """
    fill: Callable[[Tensor], object] = resolve("initialisation", how, INITIALISATIONS)
    for module in network.modules():
        if isinstance(module, (*CONVOLUTIONS.values(), *TRANSPOSED.values())):
            fill(module.weight)  # type: ignore[arg-type]
            if isinstance(module.bias, nn.Parameter):
                module.bias.zero_()
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            for parameter in module.conv2.norm.parameters():
                parameter.zero_()
