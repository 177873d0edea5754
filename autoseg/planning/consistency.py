"""Whether the parts of a configuration fit together; what is refused comes with the nearest that fit."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

from autoseg.data.labels import LabelScheme
from autoseg.errors import PlanError
from autoseg.planning.names import INITIALISATIONS, NETWORKS, check_name
from autoseg.planning.plan import Configuration, NetworkSpec, Plan, Resampling, TrainingSettings
from autoseg.planning.topology import total_stride

MOST_VOXELS = 2**40
"""A terabyte of bytes. No median image has more; a spacing that would give one is a slip of the pen."""
SPLINE_ORDERS = range(6)


def check_configuration(configuration: Configuration, *, plan: Plan, key: str) -> None:
    """Raise PlanError when spacing, network, patch, channels and resampling of `configuration` do not fit together.

    `key` is the setting that is to blame; it stands in the message. Networks of third parties are asked no more than that
    the strides divide the patch.
    """
    check_name("network", configuration.network.kind, NETWORKS)
    check_name("initialisation", configuration.network.initialisation, INITIALISATIONS)
    _check_network(configuration, key)
    _check_patch(configuration, key)
    _check_spacing(configuration, key)
    _check_normalisation(configuration, plan.channels, key)
    _check_resampling(configuration.resampling, key)


def check_class_weights(weights: Sequence[float], labels: LabelScheme) -> None:
    """Raise PlanError unless there is a weight for each output of a network, one of them above 0."""
    names = labels.output_names if labels.target == "regions" else tuple(label.name for label in labels.labels)
    if len(weights) != len(names) or not any(weights):
        raise PlanError(
            f"training.class_weights: expected {len(names)} numbers, for {', '.join(names)}, one above 0; "
            f"found {_text(tuple(weights))}."
        )


def check_schedule(training: TrainingSettings) -> None:
    """Raise PlanError for settings of the plateau schedule that come to nothing."""
    if training.stop_at_floor and training.schedule != "plateau":
        raise PlanError(
            f"training.stop_at_floor: schedule {training.schedule!r} has no floor. "
            "Set training.schedule=plateau, or end the training with training.stop_patience=N."
        )
    if training.schedule == "plateau" and training.plateau_floor > training.learning_rate:
        raise PlanError(
            f"training.plateau_floor: {training.plateau_floor:g} is above the learning rate {training.learning_rate:g}. "
            f"The nearest: {training.learning_rate:g}."
        )


def _check_network(configuration: Configuration, key: str) -> None:
    network, dimensions = configuration.network, configuration.dimensions
    _check_lengths(network, key)
    for name in ("strides", "kernels"):
        for stage, axes in enumerate(getattr(network, name)):
            if len(axes) != dimensions or min(axes) < 1:
                raise PlanError(
                    f"setting {key}: {name} of stage {stage}: expected {dimensions} positive numbers, found {_text(axes)}."
                )
    if max(network.strides[0]) > 1:
        raise PlanError(
            f"setting {key}: the first stage has strides {_text(network.strides[0])}; it works at full resolution and "
            f"expects {_text((1,) * dimensions)}."
        )
    for stage, kernel in enumerate(network.kernels):
        if any(size % 2 == 0 for size in kernel):
            smaller, larger = (tuple(n + step * (1 - n % 2) for n in kernel) for step in (-1, 1))
            raise PlanError(
                f"setting {key}: kernel {_text(kernel)} of stage {stage}: expected odd sizes, as an even one shifts the "
                f"output by half a voxel. The nearest: {_text(smaller)} or {_text(larger)}."
            )
    for name in ("features", "encoder_blocks", "decoder_blocks"):
        if min(getattr(network, name), default=1) < 1:
            raise PlanError(
                f"setting {key}: {name}: expected positive numbers for every stage, found {_text(getattr(network, name))}."
            )


def _check_lengths(network: NetworkSpec, key: str) -> None:
    stages = len(network.strides)
    if stages < 1:
        raise PlanError(f"setting {key}: strides: expected an entry for each stage, found none.")
    expected = {"features": stages, "kernels": stages, "encoder_blocks": stages, "decoder_blocks": stages - 1}
    for name, length in expected.items():
        values = getattr(network, name)
        if len(values) != length:
            fitting = (*values, *values[-1:] * length)[:length]
            nearest = [list(axes) for axes in fitting] if name == "kernels" else _text(fitting)
            raise PlanError(
                f"setting {key}: network.{name}: expected {length} entries for {stages} stages, found {len(values)}. "
                f"The nearest: {nearest}. To change the number of stages, set strides, kernels, features and blocks "
                "together, with --set for each."
            )


def _check_patch(configuration: Configuration, key: str) -> None:
    patch, divisor = configuration.patch_size, total_stride(configuration.network.strides)
    if len(patch) != len(divisor):
        raise PlanError(
            f"setting {key}: expected {len(divisor)} numbers of voxels, found {_text(patch)}. "
            f"For example {configuration.name}.patch_size={_text(tuple(4 * d for d in divisor))}."
        )
    if not all(n > 0 and n % d == 0 for n, d in zip(patch, divisor, strict=True)):
        listed = _nearest(patch, divisor)
        raise PlanError(
            f"setting {key}: a patch of {_text(patch)} does not fit the network, whose strides ask for multiples of "
            f"{_text(divisor)}. The nearest that fit: {listed}."
        )
    if patch == divisor and configuration.network.norm == "instance":
        listed = _nearest(patch, divisor)
        raise PlanError(
            f"setting {key}: a patch of {_text(patch)} leaves one voxel at the bottleneck, which instance norm would turn "
            f"into zero. The nearest that fit: {listed}."
        )


def _nearest(patch: Sequence[int], divisor: Sequence[int]) -> str:
    *others, last = (_text(valid) for valid in nearest_patches(patch, divisor))
    return f"{', '.join(others)} or {last}"


def nearest_patches(patch: Sequence[int], divisor: Sequence[int]) -> list[tuple[int, ...]]:
    """The three patches nearest to `patch` whose axes are multiples of `divisor`, with two voxels at the bottleneck."""
    choices = [
        sorted({max(n // d, 1) * d, max(-(-n // d), 1) * d, max(n // d, 1) * d + d})
        for n, d in zip(patch, divisor, strict=True)
    ]
    fitting = [found for found in product(*choices) if found != tuple(divisor)]

    def distance(found: tuple[int, ...]) -> tuple[float, int]:
        # Relative to the step of each axis; of equals the smaller patch, which is sure to fit the memory.
        steps = (abs(a - b) / d for a, b, d in zip(found, patch, divisor, strict=True))
        return sum(steps), math.prod(found)

    return sorted(fitting, key=distance)[:3]


def _check_spacing(configuration: Configuration, key: str) -> None:
    spacing = configuration.spacing_mm
    if len(spacing) != configuration.dimensions or not all(math.isfinite(mm) and mm > 0 for mm in spacing):
        raise PlanError(
            f"setting {key}: expected {configuration.dimensions} positive numbers of mm, found {_text(spacing)}."
        )
    if math.prod(configuration.median_shape) > MOST_VOXELS:
        shape = " x ".join(f"{n:g}" for n in configuration.median_shape)
        raise PlanError(
            f"setting {key}: a spacing of {_text(spacing)} mm makes the median image {shape} voxels, over {MOST_VOXELS:,}. "
            "Spacing is in mm (z, y, x)."
        )


def _check_normalisation(configuration: Configuration, channels: Sequence[str], key: str) -> None:
    if len(configuration.normalisation) != len(channels):
        raise PlanError(f"setting {key}: expected an entry for each channel ({', '.join(channels)}).")
    for name, one in zip(channels, configuration.normalisation, strict=True):
        if one.scheme == "ct" and not (one.lower < one.upper and one.deviation > 0):
            raise PlanError(
                f"setting {key}: channel {name} is normalised as CT, which needs lower < upper and a deviation above 0; "
                f"found {one.lower:g}, {one.upper:g} and {one.deviation:g}."
            )


def _check_resampling(resampling: Resampling, key: str) -> None:
    for name, order in resampling:
        if order not in SPLINE_ORDERS:
            raise PlanError(
                f"setting {key}: resampling.{name}: expected the order of a spline, from 0 (nearest) and 1 (linear) to "
                f"{SPLINE_ORDERS[-1]}; found {order}. The nearest: {min(max(order, 0), SPLINE_ORDERS[-1])}."
            )


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
