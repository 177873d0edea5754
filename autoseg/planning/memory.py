"""The memory that training and prediction will take, from the plan alone.

A training step takes most memory on its way back, where everything the forward pass kept is still there. The layers say
which tensors they make and let go (see tape.py and loss_tape.py); the largest running sum is the peak. Tensors are counted
as the allocator hands them out; what fragmentation wastes is not.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.data.labels import LabelScheme
from autoseg.planning import tape, tape_isensee
from autoseg.planning.loss_tape import TARGET, loss_layers
from autoseg.planning.plan import Configuration, NetworkSpec, TrainingSettings
from autoseg.planning.tape import FULL, SAFE_VOXELS, Kind, Layer, Move, Network

GIB = 2**30
"""Bytes of what GPUs are sold as a GB."""
CONTEXT = GIB // 2
"""Bytes that a process takes on a GPU before the first tensor: kernels and libraries. About what CUDA 12 takes."""
BATCHES_AHEAD = 3
"""Batches that are made while the network trains on one."""

DeviceKind = Literal["cuda", "cpu"]
Numbers = Literal["fp32", "bf16", "fp16", "int8"]
"""What convolutions compute in; "int8" is for predictions alone, and features lie in bf16 between convolutions."""
NUMBER_BYTES: dict[Numbers, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 2}
NETWORKS_KNOWN = ("plain_unet", "residual_unet", "isensee2017")


class MemoryUse(BaseModel):
    """Bytes at the moment when most is taken, by what they hold; `total` is their sum.

    `activations` are kept for the backward pass, `weight_copies` are the weights in the number type of autocast, `loss` is
    logits and what the loss keeps, `in_flight` gradients of features and intermediate results, `batches` images and targets
    of this step and the next ones. `workspace` is what convolutions need on the side (an assumption: copies of the input
    and the result of the largest), `context` what a process takes on a GPU before its first tensor.
    """

    model_config = FROZEN
    weights: int
    weight_gradients: int
    optimiser: int
    weight_average: int
    weight_copies: int
    activations: int
    loss: int
    in_flight: int
    batches: int
    workspace: int
    context: int

    @property
    def tensors(self) -> int:
        """Bytes of all tensors: what the allocator's peak says where convolutions need no workspace."""
        return self.total - self.workspace - self.context

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return sum(size for _, size in self.items)

    @property
    def items(self) -> tuple[tuple[str, int], ...]:
        """Name and bytes of each part."""
        return tuple((name, int(size)) for name, size in self)


def training_memory(
    configuration: Configuration,
    *,
    channels: int,
    labels: LabelScheme,
    training: TrainingSettings,
    precision: Numbers | None = None,
    device: DeviceKind = "cuda",
    batches_ahead: int = BATCHES_AHEAD,
) -> MemoryUse | None:
    """What a training step takes at its peak; None for a network that is not autoseg's own.

    `channels` are those of the network's input. `precision` defaults to the plan's, and "auto" to bf16. On a "cpu" nothing
    is known about workspace, and average pooling works in float32.
    """
    network = network_at_work(
        configuration, channels=channels, labels=labels, precision=precision or chosen_precision(training), device=device
    )
    if network is None:
        return None
    return step_memory(network, labels=labels, training=training, device=device, batches_ahead=batches_ahead)


def step_memory(
    network: Network,
    *,
    labels: LabelScheme,
    training: TrainingSettings,
    device: DeviceKind = "cuda",
    batches_ahead: int = BATCHES_AHEAD,
) -> MemoryUse:
    """What a training step of `network` takes at its peak."""
    weights = output_weights(network.spec, deep_supervision=training.deep_supervision)
    layers = _layers(network, weights=weights)
    losses = loss_layers(network, labels=labels, weights=weights, loss=training.loss)
    parameters, largest = parameter_counts(network)
    batch = network.batch_size * math.prod(network.patch_size) * (FULL * network.in_channels + TARGET)
    states, spare = _optimiser(training, parameters=parameters, largest=largest, device=device)
    found = _peak(_tape([*layers, *losses]), at_update={"weight gradients": FULL * parameters, "in flight": spare})
    return MemoryUse(
        weights=FULL * parameters,
        weight_gradients=found["weight gradients"],
        optimiser=states,
        weight_average=FULL * parameters if training.weight_average else 0,
        weight_copies=found["weight copies"],
        activations=found["activations"],
        loss=found["loss"],
        in_flight=found["in flight"],
        batches=batch * (1 + batches_ahead),
        workspace=_workspace(network) if device == "cuda" else 0,
        context=CONTEXT if device == "cuda" else 0,
    )


def prediction_memory(
    configuration: Configuration,
    *,
    channels: int,
    labels: LabelScheme,
    shape: Sequence[float] | None = None,
    networks: int = 1,
    windows: int | None = None,
    precision: Numbers = "bf16",
    device: DeviceKind = "cuda",
) -> MemoryUse | None:
    """What predicting an image takes at its peak, with image and sums on the device; None for an unknown network.

    `shape` (z, y, x) in voxels of the configuration's grid defaults to the median image, for 2-D configurations to as many
    of its slices as `windows`. Those are seen at a time (default: the batch size); sums are kept of the slices that windows
    still reach. `networks` are averaged. `activations` are features, `loss` is the sums, `in_flight` logits.
    """
    sized = configuration if windows is None else configuration.model_copy(update={"batch_size": windows})
    network = network_at_work(sized, channels=channels, labels=labels, precision=precision, device=device)
    if network is None:
        return None
    patch = network.patch_size
    shape = configuration.median_shape if shape is None else shape
    flat = tuple(shape[: len(shape) - len(patch)]) or (sized.batch_size,) * (3 - len(patch))
    edges = (*flat, *(max(n, edge) for n, edge in zip(shape[-len(patch) :], patch, strict=True)))
    image = round(math.prod(edges)) * FULL * channels
    tiles = network.voxels[0] * FULL * channels
    logits = network.voxels[0] * FULL * network.out_channels
    parameters, _ = parameter_counts(network)
    codes = network.maps[0] if precision == "int8" else 0  # a byte for each of two maps that are joined
    return MemoryUse(
        weights=FULL * parameters * networks,
        weight_gradients=0,
        optimiser=0,
        weight_average=0,
        weight_copies=_weight_copies(network, device=device) * networks,
        activations=_features_at_once(network) + codes,
        loss=round(min(_slices_summed(sized), edges[0]) * edges[1] * edges[2]) * FULL * network.out_channels,
        # The mean over mirrorings so far; the mirrored windows in the number type of the convolutions.
        in_flight=logits + (tiles * network.number_bytes // FULL if network.number_bytes < FULL else 0),
        batches=image + 2 * tiles,
        workspace=_workspace(network) if device == "cuda" else 0,
        context=CONTEXT if device == "cuda" else 0,
    )


def _weight_copies(network: Network, *, device: DeviceKind) -> int:
    """Bytes of the weights in the number type of autocast, which keeps them while it lasts."""
    if network.number_bytes == FULL:
        return 0
    stages = len(network.voxels)
    if device == "cpu" and len(network.patch_size) == 3:
        stages = max(1, sum(n > SAFE_VOXELS * network.batch_size for n in network.voxels))
    spec = network.spec
    cut = {name: getattr(spec, name)[:stages] for name in ("features", "kernels", "strides", "encoder_blocks")}
    converted = spec.model_copy(update={**cut, "decoder_blocks": spec.decoder_blocks[: stages - 1]})
    return parameter_counts(replace(network, spec=converted))[0] * network.number_bytes


def _slices_summed(configuration: Configuration) -> int:
    """Slices that the windows of a pass reach over where windows overlap by half."""
    if configuration.dimensions == 2:
        return configuration.batch_size
    depth = configuration.patch_size[0]
    return depth if configuration.batch_size == 1 else depth + depth // 2


def _features_at_once(network: Network) -> int:
    """Bytes of features at the finest level of the decoder, where most are there.

    What the encoder found, the coarser features, what is joined (two), and a convolution's result before and after its
    normalisation, beside that of the block before.
    """
    maps = network.maps
    if len(maps) == 1:
        return 4 * maps[0]
    if network.spec.kind == "isensee2017":
        # Two halves, joined, and a wide convolution's result before and after its normalisation.
        return maps[1] + 8 * maps[0]
    blocks = network.spec.decoder_blocks[0]
    return sum(maps) + maps[1] + (5 if blocks > 1 else 4) * maps[0]


def chosen_precision(training: TrainingSettings) -> Numbers:
    """The number type that memory is predicted for: "auto" takes bf16, as GPUs do."""
    return "bf16" if training.precision == "auto" else training.precision


def network_at_work(
    configuration: Configuration, *, channels: int, labels: LabelScheme, precision: Numbers, device: DeviceKind
) -> Network | None:
    """The configuration's network with its patch and batch; None where it is not one of autoseg's own."""
    if configuration.network.kind not in NETWORKS_KNOWN:
        return None
    return Network(
        spec=configuration.network,
        patch_size=configuration.patch_size,
        batch_size=configuration.batch_size,
        in_channels=channels,
        out_channels=labels.output_channels,
        number_bytes=NUMBER_BYTES[precision],
        pools_in_full=device == "cpu" and precision != "fp32",
    )


def output_weights(spec: NetworkSpec, *, deep_supervision: bool) -> tuple[float, ...]:
    """The weight of each output, finest first; with deep supervision the coarsest of several has none."""
    levels = max(len(spec.features) - 1, 1) if deep_supervision else 1
    if spec.kind == "isensee2017":
        levels = min(levels, tape_isensee.SEGMENTED_LEVELS)
    return tuple(0.0 if levels > 1 and level == levels - 1 else 0.5**level for level in range(levels))


def _layers(network: Network, *, weights: tuple[float, ...]) -> list[Layer]:
    of_kind = tape_isensee if network.spec.kind == "isensee2017" else tape
    return [*of_kind.encoder(network), *of_kind.decoder(network, weights=weights)]


def parameter_counts(network: Network) -> tuple[int, int]:
    """Weights of the network, and of its largest layer."""
    every = (1.0,) * max(len(network.spec.features) - 1, 1)
    layers = _layers(network, weights=every)
    counts = [sum(size for kind, size in layer.backward if kind == "weight gradients") // FULL for layer in layers]
    return sum(counts), max(counts)


def _optimiser(training: TrainingSettings, *, parameters: int, largest: int, device: DeviceKind) -> tuple[int, int]:
    """Bytes of the optimiser's state, and what an update takes on the side: all weights on a GPU, else one layer's."""
    is_sgd = training.optimiser == "sgd"
    state = (1 if training.momentum else 0) if is_sgd else 2
    copies = (1 if training.weight_decay else 0) if is_sgd else 1 + (training.optimiser == "adam")
    spare = copies * parameters if device == "cuda" else 2 * largest
    return FULL * state * parameters, FULL * spare


def _tape(layers: Sequence[Layer]) -> Iterable[Move]:
    for layer in layers:
        yield from layer.forward
    for layer in reversed(layers):
        yield from layer.backward


def _peak(tape: Iterable[Move], *, at_update: dict[Kind, int]) -> dict[Kind, int]:
    """What is held, by kind, when most is held: along the tape or at the update of the weights."""
    held: dict[Kind, int] = {"activations": 0, "weight copies": 0, "loss": 0, "weight gradients": 0, "in flight": 0}
    update = {**held, **at_update}
    now, most, at_peak = 0, sum(update.values()), update
    for kind, size in tape:
        held[kind] += size
        now += size
        if now > most:
            most, at_peak = now, dict(held)
    return at_peak


def _workspace(network: Network) -> int:
    """Copies of input and result of the largest convolution: the fast kernels of cuDNN want channels last."""
    return 3 * network.maps[0]
