"""U-Nets with a plain or a residual encoder, in two and three dimensions.

Parameters are laid out and ordered as in nnU-Net (convolution, norm, transposed convolution, one head at every decoder
level from coarse to fine), so that its weights can be taken over by renaming.
Source: Ronneberger et al., MICCAI 2015; Isensee et al., Nature Methods 18 (2021) and MICCAI 2024 (residual encoder).
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from autoseg.errors import PlanError
from autoseg.extend import resolve
from autoseg.networks.blocks import CONVOLUTIONS, TRANSPOSED, ConvBlock, ConvStack, ResidualBlock, initialise
from autoseg.networks.isensee2017 import SEGMENTED_LEVELS, isensee2017
from autoseg.planning.plan import NetworkSpec


class Encoder(nn.Module):
    """A stem (residual encoders have one) and stages; returns the features of every stage, finest first."""

    def __init__(self, *, stem: nn.Module | None, stages: list[nn.Module]) -> None:
        super().__init__()
        self.stem = stem if stem is not None else nn.Identity()
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """One tensor (B, features, *grid) per stage."""
        features = self.stem(image)
        found = []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return found


class Decoder(nn.Module):
    """Doubles the resolution level by level, each time joining the encoder's features; a 1x1 head at every level."""

    def __init__(self, *, spec: NetworkSpec, dimensions: int, out_channels: int) -> None:
        super().__init__()
        levels = range(len(spec.features) - 2, -1, -1)
        self.transpconvs = nn.ModuleList(
            TRANSPOSED[dimensions](
                spec.features[level + 1],
                spec.features[level],
                spec.strides[level + 1],
                stride=spec.strides[level + 1],
            )
            for level in levels
        )
        self.stages = nn.ModuleList(
            ConvStack(
                blocks=spec.decoder_blocks[level],
                in_channels=2 * spec.features[level],
                out_channels=spec.features[level],
                kernel=spec.kernels[level],
                stride=[1] * dimensions,
                norm=spec.norm,
                dropout=spec.dropout,
            )
            for level in levels
        )
        # A network without any pooling has no decoder level, but still one head.
        self.heads = nn.ModuleList(
            CONVOLUTIONS[dimensions](spec.features[level], out_channels, 1) for level in (levels or [0])
        )

    def forward(self, encoded: list[Tensor], *, every_level: bool) -> list[Tensor]:
        """Logits (B, out_channels, *grid), finest first; only the finest unless `every_level`."""
        features = encoded[-1]
        if not len(self.stages):
            return [self.heads[0](features)]
        logits: list[Tensor] = []
        for index, (up, stage) in enumerate(zip(self.transpconvs, self.stages, strict=True)):
            features = stage(torch.cat((up(features), encoded[-2 - index]), dim=1))
            if every_level or index == len(self.stages) - 1:
                logits.append(self.heads[index](features))
        return logits[::-1]


class UNet(nn.Module):
    """An encoder and a decoder.

    Maps (B, in_channels, *patch) to logits: a list, finest first, while `deep_supervision` is True, else the finest
    alone (B, out_channels, *patch). Each edge of the patch must be divisible by the product of the strides of its axis.
    """

    def __init__(self, *, encoder: Encoder, decoder: Decoder, deep_supervision: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.deep_supervision = deep_supervision

    def forward(self, image: Tensor) -> list[Tensor] | Tensor:
        """Logits of the image."""
        logits: list[Tensor] = self.decoder(self.encoder(image), every_level=self.deep_supervision)
        return logits if self.deep_supervision else logits[0]


class NetworkBuilder(Protocol):
    """What NETWORKS holds: a function that makes a network from a plan's topology, weights initialised."""

    def __call__(
        self, spec: NetworkSpec, *, dimensions: int, in_channels: int, out_channels: int, deep_supervision: bool
    ) -> nn.Module:
        """A network with an attribute `deep_supervision`, see UNet for what it maps to what."""
        ...


def plain_unet(spec: NetworkSpec, *, dimensions: int, in_channels: int, out_channels: int, deep_supervision: bool) -> UNet:
    """A U-Net whose stages are stacks of convolutions."""
    stages: list[nn.Module] = [
        ConvStack(
            blocks=spec.encoder_blocks[stage],
            in_channels=spec.features[stage - 1] if stage else in_channels,
            out_channels=spec.features[stage],
            kernel=spec.kernels[stage],
            stride=spec.strides[stage],
            norm=spec.norm,
            dropout=spec.dropout,
        )
        for stage in range(len(spec.features))
    ]
    return _assembled(Encoder(stem=None, stages=stages), spec, dimensions, out_channels, deep_supervision)


def residual_unet(
    spec: NetworkSpec, *, dimensions: int, in_channels: int, out_channels: int, deep_supervision: bool
) -> UNet:
    """A U-Net with a stem of one convolution and residual blocks in the encoder; its decoder is plain."""
    stem = ConvBlock(
        in_channels=in_channels,
        out_channels=spec.features[0],
        kernel=spec.kernels[0],
        stride=[1] * dimensions,
        norm=spec.norm,
        dropout=spec.dropout,
    )
    stages: list[nn.Module] = [
        nn.Sequential(
            *(
                ResidualBlock(
                    in_channels=spec.features[max(stage - 1, 0)] if block == 0 else spec.features[stage],
                    out_channels=spec.features[stage],
                    kernel=spec.kernels[stage],
                    stride=spec.strides[stage] if block == 0 else [1] * dimensions,
                    norm=spec.norm,
                    dropout=spec.dropout,
                )
                for block in range(spec.encoder_blocks[stage])
            )
        )
        for stage in range(len(spec.features))
    ]
    return _assembled(Encoder(stem=stem, stages=stages), spec, dimensions, out_channels, deep_supervision)


def _assembled(encoder: Encoder, spec: NetworkSpec, dimensions: int, out_channels: int, deep_supervision: bool) -> UNet:
    decoder = Decoder(spec=spec, dimensions=dimensions, out_channels=out_channels)
    network = UNet(encoder=encoder, decoder=decoder, deep_supervision=deep_supervision)
    initialise(network, spec.initialisation)
    return network


NETWORKS: dict[str, NetworkBuilder] = {
    "plain_unet": plain_unet,
    "residual_unet": residual_unet,
    "isensee2017": isensee2017,
}


def build_network(
    spec: NetworkSpec,
    *,
    dimensions: int,
    in_channels: int,
    out_channels: int,
    deep_supervision: bool,
    seed: int = 0,
) -> nn.Module:
    """The network that `spec` describes, on the CPU, with weights drawn from `seed` alone.

    Raises PlanError when the stages of the spec do not fit together, UnknownNameError for an unknown kind.
    """
    _check(spec, dimensions=dimensions)
    builder: Callable[..., nn.Module] = resolve("network", spec.kind, NETWORKS)
    # torch's modules draw from the global generator; inside the fork that leaves no trace outside.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return builder(
            spec,
            dimensions=dimensions,
            in_channels=in_channels,
            out_channels=out_channels,
            deep_supervision=deep_supervision,
        )


def decoder_levels(spec: NetworkSpec) -> int:
    """How many outputs a network with deep supervision has."""
    levels = max(len(spec.features) - 1, 1)
    return min(levels, SEGMENTED_LEVELS) if spec.kind == "isensee2017" else levels


def _check(spec: NetworkSpec, *, dimensions: int) -> None:
    stages = len(spec.features)
    counts = {
        "kernels": (len(spec.kernels), stages),
        "strides": (len(spec.strides), stages),
        "encoder_blocks": (len(spec.encoder_blocks), stages),
        "decoder_blocks": (len(spec.decoder_blocks), stages - 1),
    }
    for key, (found, expected) in counts.items():
        if found != expected:
            raise PlanError(
                f"network.{key}: found {found} entries, expected {expected} for {stages} stages. Correct it in the plan."
            )
    for key, tuples in (("kernels", spec.kernels), ("strides", spec.strides)):
        for stage, entry in enumerate(tuples):
            if len(entry) != dimensions or (key == "kernels" and any(edge % 2 == 0 for edge in entry)):
                raise PlanError(
                    f"network.{key}.{stage}: found {entry}, expected {dimensions} {'odd ' * (key == 'kernels')}numbers. "
                    "Correct it in the plan."
                )
