"""The parts U-Nets are made of, in two and three dimensions."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["instance", "batch"]

CONVOLUTIONS: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
DROPOUTS: dict[int, type[nn.Module]] = {2: nn.Dropout2d, 3: nn.Dropout3d}
POOLS: dict[int, type[nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
NORMS: dict[Norm, dict[int, type[nn.Module]]] = {
    "instance": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d},
    "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
}
NORM_EPSILON = 1e-5
SAFE_VOXELS = 64
"""Grids up to this size are convolved in float32 on a processor; they are too small for it to cost time."""

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
        self.norm = NORMS[norm][dimensions](out_channels, eps=NORM_EPSILON, affine=True)
        self.activation = nn.LeakyReLU(LEAK, inplace=True) if activated else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, out_channels, *grid)."""
        result: Tensor = self.activation(self.norm(self.dropout(self._convolved(features))))
        return result

    def _convolved(self, features: Tensor) -> Tensor:
        found: Tensor
        if features.device.type == "cpu" and features.dim() == 5 and features.shape[2:].numel() <= SAFE_VOXELS:
            # In bf16 the gradient of the weights comes out as garbage there, now and then (torch 2.13 with oneDNN).
            with torch.autocast("cpu", enabled=False):
                found = self.conv(features.float())
        else:
            found = self.conv(features)
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


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """He-normal weights and zero biases for every convolution; zero for the last norm of each residual block.

    Draws from torch's current CPU generator. Source: He et al., ICCV 2015; nnU-Net for the zeroed norms.
    """
    for module in network.modules():
        if isinstance(module, (*CONVOLUTIONS.values(), *TRANSPOSED.values())):
            nn.init.kaiming_normal_(module.weight, a=LEAK)  # type: ignore[arg-type]
            if isinstance(module.bias, nn.Parameter):
                module.bias.zero_()
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            for parameter in module.conv2.norm.parameters():
                parameter.zero_()
