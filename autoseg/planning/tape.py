"""What each layer of a U-Net does to memory in a training step: bytes taken and let go, forward and backward.

The largest running sum over the moves of all layers is the peak. What is kept for the backward pass follows PyTorch's
autograd: a convolution keeps its input, a normalisation its input, an in-place leaky ReLU its result (which is the next
convolution's input). A concatenation keeps nothing, but both halves of its gradient lie in one tensor, which stays until
the encoder has used its half.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from autoseg.planning.plan import NetworkSpec

Kind = Literal["activations", "weight copies", "loss", "weight gradients", "in flight"]
Move = tuple[Kind, int]
"""Bytes that are taken (positive) or let go (negative)."""

FULL = 4
"""Bytes of a float32."""
SAFE_VOXELS = 64
"""Grids up to this size are convolved in float32 on a processor; they are too small for it to cost time."""


@dataclass(frozen=True)
class Layer:
    """The moves of a layer on the way forward, and on the way back, where it finds the gradient of its result in flight."""

    forward: tuple[Move, ...] = ()
    backward: tuple[Move, ...] = ()


@dataclass(frozen=True)
class Network:
    """A U-Net at work: its topology, the size of its input and the number type of its features.

    `number_bytes` is 4 in float32 and 2 under autocast, where convolutions compute with copies of the weights.
    `pools_in_full`: 3-D average pooling goes through float32, as it does under autocast on a CPU.
    """

    spec: NetworkSpec
    patch_size: tuple[int, ...]
    batch_size: int
    in_channels: int
    out_channels: int
    number_bytes: int
    pools_in_full: bool = False

    @property
    def is_residual(self) -> bool:
        """Whether the encoder is made of residual blocks."""
        return self.spec.kind == "residual_unet"

    @cached_property
    def voxels(self) -> tuple[int, ...]:
        """Voxels of a batch at each stage."""
        found, edges = [], self.patch_size
        for stride in self.spec.strides:
            edges = tuple(-(-edge // step) for edge, step in zip(edges, stride, strict=True))
            found.append(self.batch_size * math.prod(edges))
        return tuple(found)

    @cached_property
    def maps(self) -> tuple[int, ...]:
        """Bytes of the features of each stage."""
        return tuple(n * f * self.number_bytes for n, f in zip(self.voxels, self.spec.features, strict=True))

    @cached_property
    def level_voxels(self) -> tuple[int, ...]:
        """Voxels of a batch at each decoder level, finest first; one level where nothing is pooled."""
        return self.voxels[:-1] or self.voxels

    @property
    def pooled_bytes(self) -> int:
        """Bytes of a number that average pooling reads and makes."""
        return FULL if self.pools_in_full and len(self.patch_size) == 3 else self.number_bytes


def encoder(net: Network) -> list[Layer]:
    """The stem of a residual encoder, then the convolutions or residual blocks of each stage."""
    spec, maps, channels, given = net.spec, net.maps, net.in_channels, 0
    layers = [image_copy(net)]
    if net.is_residual:
        layers += conv_block(
            net, channels=channels, features=spec.features[0], kernel=spec.kernels[0], given=0, made=maps[0]
        )
        channels, given = spec.features[0], maps[0]
    for stage, features in enumerate(spec.features):
        if stage:
            layers.append(halves_of_gradient(maps[stage - 1]))
        for block in range(spec.encoder_blocks[stage]):
            if net.is_residual:
                is_pooled = block == 0 and math.prod(spec.strides[stage]) > 1
                layers += _residual_block(net, stage=stage, channels=channels, given=given, is_pooled=is_pooled)
            else:
                layers += conv_block(
                    net, channels=channels, features=features, kernel=spec.kernels[stage], given=given, made=maps[stage]
                )
            channels, given = features, maps[stage]
    return layers


def decoder(net: Network, *, weights: Sequence[float]) -> list[Layer]:
    """Each level from coarse to fine, and a head for each entry of the loss's `weights` (finest first).

    A head of weight 0 makes logits but gets no gradient.
    """
    spec, maps, layers = net.spec, net.maps, list[Layer]()
    if len(maps) == 1:
        return [head(net, 0, has_gradient=True, is_finest=True)]
    for level in range(len(maps) - 2, -1, -1):
        features = spec.features[level]
        count = spec.features[level + 1] * features * math.prod(spec.strides[level + 1]) + features
        layers.append(convolution(net, weights=count, given=maps[level + 1], made=maps[level], frees_gradient=False))
        layers.append(Layer((("activations", 2 * maps[level]), ("activations", -maps[level]))))
        for block in range(spec.decoder_blocks[level]):
            twice = 2 if block == 0 else 1
            layers += conv_block(
                net,
                channels=twice * features,
                features=features,
                kernel=spec.kernels[level],
                given=twice * maps[level],
                made=maps[level],
                kept=2 * maps[level] if block == 0 else 0,
            )
        if level < len(weights):
            layers.append(head(net, level, has_gradient=weights[level] > 0, is_finest=level == 0))
    return layers


def image_copy(net: Network) -> Layer:
    """The image in the number type of the convolutions, which the first of them keeps."""
    if net.number_bytes == FULL:
        return Layer()
    numbers = net.batch_size * math.prod(net.patch_size) * net.in_channels
    size = numbers * net.number_bytes
    return Layer((("activations", size),), (("activations", -size),))


def halves_of_gradient(size: int) -> Layer:
    """Where the decoder's half of a gradient and the encoder's own meet."""
    return Layer((), (("in flight", size), ("in flight", -3 * size)))


def weights_of(channels: int, features: int, kernel: Sequence[int], *, bias: bool = True) -> int:
    """How many weights a convolution has."""
    return channels * features * math.prod(kernel) + (features if bias else 0)


def convolution(net: Network, *, weights: int, given: int, made: int, kept: int = 0, frees_gradient: bool = True) -> Layer:
    """A convolution of `weights` numbers from `given` bytes (0 where no gradient goes further down) to `made` bytes.

    `kept` bytes of input are its own to keep for the backward pass; other inputs are kept by the layer that made them.
    """
    copy = weights * net.number_bytes if net.number_bytes < FULL else 0
    backward: list[Move] = [("in flight", given), ("in flight", copy)]
    backward += [("in flight", -made if frees_gradient else 0), ("activations", -kept), ("weight copies", -copy)]
    backward += [("weight gradients", weights * FULL), ("in flight", -copy)]
    return Layer((("weight copies", copy), ("activations", made)), tuple(backward))


def normalisation(features: int, made: int, *, made_as: Kind = "activations", frees_gradient: bool = True) -> Layer:
    """A normalisation; keeps its input, which the convolution before it made."""
    freed = -made if frees_gradient else 0
    backward: tuple[Move, ...] = (("in flight", made), ("in flight", freed), ("activations", -made))
    return Layer(((made_as, made),), (*backward, ("weight gradients", 2 * features * FULL)))


def activation(net: Network, made: int, *, of_norm: bool = True) -> Layer:
    """A leaky ReLU in place; keeps its result.

    An instance normalisation returns a view, and the way back through a changed view makes two copies more.
    """
    extra = 2 * made if of_norm and net.spec.norm == "instance" else 0
    return Layer((), (("in flight", extra + made), ("in flight", -extra - made), ("activations", -made)))


def conv_block(
    net: Network, *, channels: int, features: int, kernel: Sequence[int], given: int, made: int, kept: int = 0
) -> list[Layer]:
    """Convolution, normalisation, leaky ReLU."""
    weights = weights_of(channels, features, kernel)
    first = convolution(net, weights=weights, given=given, made=made, kept=kept)
    return [first, normalisation(features, made), activation(net, made)]


def _residual_block(net: Network, *, stage: int, channels: int, given: int, is_pooled: bool) -> list[Layer]:
    """Two convolutions, and the input (pooled, and convolved where channels change) added before the last leaky ReLU."""
    made, features, kernel = net.maps[stage], net.spec.features[stage], net.spec.kernels[stage]
    is_changed = channels != features
    first = conv_block(net, channels=channels, features=features, kernel=kernel, given=given, made=made)
    second = convolution(net, weights=weights_of(features, features, kernel), given=made, made=made)
    # Without any layer in the other branch its gradient is the one that comes from above, and waits.
    waits = not (is_pooled or is_changed)
    norm = normalisation(features, made, made_as="in flight", frees_gradient=not waits)
    skip, skipped = _skip(net, stage=stage, channels=channels, given=given, is_pooled=is_pooled)
    addition = Layer((("activations", made), ("in flight", -made - skipped)))
    meeting = Layer((), (("in flight", given), ("in flight", -2 * given)))
    return [meeting, *first, second, norm, *skip, addition, activation(net, made, of_norm=False)]


def _skip(net: Network, *, stage: int, channels: int, given: int, is_pooled: bool) -> tuple[list[Layer], int]:
    """The branch beside the convolutions of a residual block, and the bytes of its result that nothing keeps."""
    features, made = net.spec.features[stage], net.maps[stage]
    is_changed = channels != features
    pooled = net.voxels[stage] * channels * net.pooled_bytes
    layers = []
    if is_pooled:
        in_full = given // net.number_bytes * FULL if net.pooled_bytes > net.number_bytes else 0
        kept: Kind = "activations" if is_changed else "in flight"
        back: tuple[Move, ...] = (("in flight", given + in_full), ("in flight", -in_full - pooled))
        layers = [Layer((("activations", in_full), (kept, pooled)), (*back, ("activations", -in_full)))]
    if not is_changed:
        # The gradient that the pooling finds is shared with the convolutions, and freed by them.
        return [_keeping(layer, pooled) for layer in layers], pooled if is_pooled else 0
    weights = weights_of(channels, features, (1,), bias=False)
    inner = pooled if is_pooled else given
    layers.append(convolution(net, weights=weights, given=inner, made=made, kept=pooled if is_pooled else 0))
    layers.append(normalisation(features, made, made_as="in flight", frees_gradient=False))
    return layers, made


def _keeping(layer: Layer, size: int) -> Layer:
    return Layer(layer.forward, (*layer.backward, ("in flight", size)))


def head(net: Network, level: int, *, has_gradient: bool, is_finest: bool) -> Layer:
    """A 1x1 convolution to the logits of a level."""
    weights = net.spec.features[level] * net.out_channels + net.out_channels
    logits = net.level_voxels[level] * net.out_channels * net.number_bytes
    made_by = convolution(net, weights=weights, given=net.maps[level], made=logits)
    forward: tuple[Move, ...] = (made_by.forward[0], ("loss", logits))
    if not has_gradient:
        return Layer(forward)
    # Below the finest level the gradient is added to the one that came down from above.
    joined: tuple[Move, ...] = () if is_finest else (("in flight", net.maps[level]), ("in flight", -2 * net.maps[level]))
    return Layer(forward, (*made_by.backward, *joined))
