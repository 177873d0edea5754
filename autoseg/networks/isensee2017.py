"""The network of the BraTS 2017 entry of Isensee et al.: residual context modules, localisation, summed segmentations.

Source: Isensee et al., Brain Tumor Segmentation and Radiomics Survival Prediction, 2017, arXiv 1802.10508. As there,
upsampling repeats voxels and is followed by a convolution, and the logits of the three finest levels are added up.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoseg.networks.blocks import CONVOLUTIONS, DROPOUTS, LEAK, NORMS, ConvBlock, Norm, convolved, initialise
from autoseg.planning.plan import NetworkSpec

SEGMENTED_LEVELS = 3
"""So many of the finest decoder levels make logits of their own."""


class PreActivated(nn.Module):
    """Normalisation, leaky ReLU, then a convolution that keeps grid and number of feature maps."""

    def __init__(self, *, features: int, kernel: tuple[int, ...], norm: Norm) -> None:
        super().__init__()
        self.norm = NORMS[norm](features, len(kernel))
        self.activation = nn.LeakyReLU(LEAK)
        padding = tuple(edge // 2 for edge in kernel)
        self.conv = CONVOLUTIONS[len(kernel)](features, features, kernel, padding=padding)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features, *grid)."""
        return convolved(self.conv, self.activation(self.norm(features)))


class ContextModule(nn.Module):
    """A residual block of two pre-activated convolutions with dropout between them."""

    def __init__(self, *, features: int, kernel: tuple[int, ...], norm: Norm, dropout: float) -> None:
        super().__init__()
        self.first = PreActivated(features=features, kernel=kernel, norm=norm)
        self.dropout = DROPOUTS[len(kernel)](dropout) if dropout else nn.Identity()
        self.second = PreActivated(features=features, kernel=kernel, norm=norm)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features, *grid)."""
        result: Tensor = features + self.second(self.dropout(self.first(features)))
        return result


class ContextStage(nn.Module):
    """A convolution, strided from the second stage on, then context modules; the result is normalised and activated."""

    def __init__(self, spec: NetworkSpec, *, stage: int, in_channels: int) -> None:
        super().__init__()
        kernel, features = spec.kernels[stage], spec.features[stage]
        padding = tuple(edge // 2 for edge in kernel)
        self.conv = CONVOLUTIONS[len(kernel)](in_channels, features, kernel, stride=spec.strides[stage], padding=padding)
        self.context = nn.Sequential(
            *(
                ContextModule(features=features, kernel=kernel, norm=spec.norm, dropout=spec.dropout)
                for _ in range(spec.encoder_blocks[stage])
            )
        )
        self.norm = NORMS[spec.norm](features, len(kernel))
        self.activation = nn.LeakyReLU(LEAK)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features of the stage, *ceil(grid / stride))."""
        result: Tensor = self.activation(self.norm(self.context(convolved(self.conv, features))))
        return result


class LocalisationStage(nn.Module):
    """Upsampling by repetition and a convolution, joined with the encoder's features, then localisation.

    Localisation is a convolution (several where `decoder_blocks` says so) and a 1x1x1 convolution that halves the maps.
    """

    def __init__(self, spec: NetworkSpec, *, level: int) -> None:
        super().__init__()
        kernel, features = spec.kernels[level], spec.features[level]
        ones = (1,) * len(kernel)
        self.scale = tuple(float(step) for step in spec.strides[level + 1])
        self.up = ConvBlock(
            in_channels=spec.features[level + 1], out_channels=features, kernel=kernel, stride=ones, norm=spec.norm
        )
        wide = [
            ConvBlock(in_channels=2 * features, out_channels=2 * features, kernel=kernel, stride=ones, norm=spec.norm)
            for _ in range(spec.decoder_blocks[level])
        ]
        narrow = ConvBlock(in_channels=2 * features, out_channels=features, kernel=ones, stride=ones, norm=spec.norm)
        self.localisation = nn.Sequential(*wide, narrow)

    def forward(self, features: Tensor, skipped: Tensor) -> Tensor:
        """Features (B, features of the level, *grid of `skipped`)."""
        upsampled = self.up(F.interpolate(features, scale_factor=self.scale, mode="nearest"))
        result: Tensor = self.localisation(torch.cat((upsampled, skipped), dim=1))
        return result


class Isensee2017(nn.Module):
    """Context pathway, localisation pathway, and the sum of the logits of the finest levels, upsampled.

    Maps (B, in_channels, *patch) to logits (B, out_channels, *patch). While `deep_supervision` is True these are the first
    of a list, followed by the sums so far at the coarser levels.
    """

    def __init__(
        self, spec: NetworkSpec, *, dimensions: int, in_channels: int, out_channels: int, deep_supervision: bool
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        channels = (in_channels, *spec.features)
        self.encoder = nn.ModuleList(
            ContextStage(spec, stage=stage, in_channels=channels[stage]) for stage in range(len(spec.features))
        )
        levels = range(len(spec.features) - 2, -1, -1)
        self.decoder = nn.ModuleList(LocalisationStage(spec, level=level) for level in levels)
        # From coarse to fine, as the decoder; without any pooling the only stage has the head.
        segmented = list(levels)[-SEGMENTED_LEVELS:] or [0]
        self.heads = nn.ModuleList(CONVOLUTIONS[dimensions](spec.features[level], out_channels, 1) for level in segmented)

    def forward(self, image: Tensor) -> list[Tensor] | Tensor:
        """Logits of the image."""
        encoded = [image]
        for stage in self.encoder:
            encoded.append(stage(encoded[-1]))
        features, without_head = encoded.pop(), len(self.decoder) - len(self.heads)
        sums = [] if len(self.decoder) else [self.heads[0](features)]
        for index, stage in enumerate(self.decoder):
            features = stage(features, encoded.pop())
            if index < without_head:
                continue
            logits = self.heads[index - without_head](features)
            sums.append(logits + F.interpolate(sums[-1], size=logits.shape[2:], mode="nearest") if sums else logits)
        return sums[::-1] if self.deep_supervision else sums[-1]


def isensee2017(
    spec: NetworkSpec, *, dimensions: int, in_channels: int, out_channels: int, deep_supervision: bool
) -> Isensee2017:
    """The network with weights drawn as `spec` says."""
    network = Isensee2017(
        spec,
        dimensions=dimensions,
        in_channels=in_channels,
        out_channels=out_channels,
        deep_supervision=deep_supervision,
    )
    initialise(network, spec.initialisation)
    return network
