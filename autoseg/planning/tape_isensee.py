"""What each layer of the network of arXiv 1802.10508 does to memory in a training step; see tape.py for how it is counted.

Its activations before convolutions are not in place: a leaky ReLU keeps its input and the convolution behind it its result,
so that a context module takes twice what a plain convolution does.
"""

from autoseg.planning.tape import (
    Layer,
    Move,
    Network,
    conv_block,
    convolution,
    halves_of_gradient,
    head,
    image_copy,
    normalisation,
    weights_of,
)

SEGMENTED_LEVELS = 3
"""So many of the finest decoder levels make logits of their own."""


def encoder(net: Network) -> list[Layer]:
    """The context pathway: a convolution, context modules, normalisation and activation of each stage."""
    spec, maps, channels, given = net.spec, net.maps, net.in_channels, 0
    layers = [image_copy(net)]
    for stage, features in enumerate(spec.features):
        made = maps[stage]
        if stage:
            layers.append(halves_of_gradient(maps[stage - 1]))
        count = weights_of(channels, features, spec.kernels[stage])
        layers.append(convolution(net, weights=count, given=given, made=made, kept=given))
        for _ in range(spec.encoder_blocks[stage]):
            layers += _context_module(net, stage=stage)
        layers += [normalisation(features, made), _apart(made)]
        channels, given = features, made
    return layers


def decoder(net: Network, *, weights: tuple[float, ...]) -> list[Layer]:
    """The localisation pathway from coarse to fine, with the heads of its finest levels, whose logits are added up."""
    maps, layers = net.maps, list[Layer]()
    if len(maps) == 1:
        return [head(net, 0, has_gradient=True, is_finest=True)]
    for level in range(len(maps) - 2, -1, -1):
        layers += _localisation(net, level=level)
        if level < SEGMENTED_LEVELS:
            layers.append(head(net, level, has_gradient=True, is_finest=level == 0))
            layers += _sum(net, level) if level < min(SEGMENTED_LEVELS, len(maps) - 1) - 1 else []
    return layers


def _apart(made: int) -> Layer:
    """A leaky ReLU that leaves its input as it is, and keeps it; its result is kept by whoever needs it."""
    return Layer((("activations", made),), (("in flight", made), ("in flight", -made), ("activations", -made)))


def _pre_activated(net: Network, *, stage: int, waits: bool) -> list[Layer]:
    features, made = net.spec.features[stage], net.maps[stage]
    count = weights_of(features, features, net.spec.kernels[stage])
    last = convolution(net, weights=count, given=made, made=made, kept=made, frees_gradient=not waits)
    return [normalisation(features, made), _apart(made), last]


def _context_module(net: Network, *, stage: int) -> list[Layer]:
    """Two pre-activated convolutions with dropout between them, added to what came in."""
    made = net.maps[stage]
    # Both gradients that reach the input become their sum.
    meeting = Layer((), (("in flight", made), ("in flight", -2 * made)))
    copied: tuple[Move, ...] = (("activations", made), ("activations", -made))
    dropped = Layer(copied, (("in flight", made), ("in flight", -made))) if net.spec.dropout else Layer()
    added = Layer(copied)
    first, second = (_pre_activated(net, stage=stage, waits=waits) for waits in (False, True))
    return [meeting, *first, dropped, *second, added]


def _localisation(net: Network, *, level: int) -> list[Layer]:
    """Repetition and a convolution, joined with the encoder's features, then wide convolutions and a narrow one."""
    spec, maps = net.spec, net.maps
    features, below, kernel, made = spec.features[level], spec.features[level + 1], spec.kernels[level], maps[level]
    repeated = maps[level + 1] * net.voxels[level] // net.voxels[level + 1]
    is_first = level == len(maps) - 2
    # Nothing keeps what the last stage of the encoder hands over.
    freed: tuple[Move, ...] = (("activations", -maps[level + 1]),) if is_first else ()
    layers = [Layer((("activations", repeated), *freed), (("in flight", maps[level + 1]), ("in flight", -repeated)))]
    layers += conv_block(net, channels=below, features=features, kernel=kernel, given=repeated, made=made, kept=repeated)
    # The other half of the gradient of what is joined stays until the encoder has used it.
    layers.append(Layer((("activations", 2 * made),), (("in flight", made),)))
    twice, both = 2 * features, 2 * made
    for block in range(spec.decoder_blocks[level]):
        kept = 0 if block else both
        layers += conv_block(net, channels=twice, features=twice, kernel=kernel, given=both, made=both, kept=kept)
    ones = (1,) * len(kernel)
    return [*layers, *conv_block(net, channels=twice, features=features, kernel=ones, given=both, made=made)]


def _sum(net: Network, level: int) -> list[Layer]:
    """The logits of a level plus those so far, repeated."""
    logits = net.level_voxels[level] * net.out_channels * net.number_bytes
    return [Layer((("loss", 2 * logits), ("loss", -2 * logits)))]
