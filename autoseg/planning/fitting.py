"""Predicted memory in a plan, and what becomes of a configuration that would not fit.

The planner's rule sizes patch and batch by a rough measure of cost. Here every configuration gets the memory that a step
is predicted to take. Only where that is clearly more than there is does the patch shrink on, along the same path.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoseg.data.labels import LabelScheme
from autoseg.errors import PlanError
from autoseg.planning.decisions import resized, times
from autoseg.planning.memory import (
    GIB,
    NUMBER_BYTES,
    chosen_precision,
    prediction_memory,
    step_memory,
    training_memory,
)
from autoseg.planning.plan import Configuration, Decision, NetworkSpec, Plan, TrainingSettings
from autoseg.planning.presets import Preset
from autoseg.planning.sizing import FEWEST_VOXELS, Budget, Sizing, batch_limits, shrinking, too_small
from autoseg.planning.tape import Network
from autoseg.planning.topology import Topology, cost, total_stride

ROUGHNESS = 1.25
"""How far a plan may exceed the memory it was made for while no GPU is in sight. nnU-Net's own plans exceed it by 14 %."""

MEMORY = "memory of "
SOURCE = "autoseg: tensors that PyTorch keeps, see docs/planning-rules.md"


@dataclass(frozen=True)
class Room:
    """The memory there is for a plan. `device_bytes` is that of the smallest GPU in sight, None where there is none."""

    budget: Budget
    device_bytes: int | None = None

    @property
    def bytes(self) -> int:
        """The most that a step may take by prediction."""
        planned = round(self.budget.gpu_memory_gb * GIB * ROUGHNESS)
        return planned if self.device_bytes is None else min(planned, self.device_bytes)


def network_spec(design: Topology, preset: Preset) -> NetworkSpec:
    """The network of `preset` for a design."""
    return NetworkSpec(
        kind=preset.kind,
        features=preset.features(design.stages, dimensions=len(design.patch_size)),
        kernels=design.kernels,
        strides=design.strides,
        encoder_blocks=preset.blocks(design.stages),
        decoder_blocks=(preset.decoder_blocks,) * (design.stages - 1),
    )


def with_memory(plan: Plan) -> Plan:
    """The plan with the predicted memory of each configuration as it is now, in its fields and as a decision."""
    found = {name: _predicted(one, plan) for name, one in plan.configurations.items()}
    return _replaced(plan, found, [_stated(one) for one in found.values()])


def fitted(plan: Plan, sizings: Mapping[str, Sizing], *, room: Room, outputs: int) -> Plan:
    """The plan with predicted memory, and with each configuration that exceeds the room reduced to what fits.

    The batch shrinks first, then the patch along the path of the rule. `sizings` are what the rule found, by name; a
    cascade has those of full resolution. Raises PlanError naming the least memory where nothing on the path fits.
    """
    found: dict[str, Configuration] = {}
    decisions = []
    for name, one in plan.configurations.items():
        sizing = sizings.get(name, sizings.get("3d_fullres"))
        assert sizing is not None, f"{name} was sized"
        planned = _predicted(one.model_copy(update={"memory_budget_bytes": room.bytes}), plan)
        found[name] = _reduced(planned, plan, sizing=sizing, room=room, outputs=outputs)
        decisions.append(_stated(found[name], before=planned))
        decisions += _larger_than_image(found[name])
    return _replaced(restated(plan, found, kind=MEMORY), found, decisions)


def restated(plan: Plan, found: Mapping[str, Configuration], *, kind: str) -> Plan:
    """The plan with decisions that hold for the configurations `found`, whose sizes a decision of `kind` has changed."""
    decisions = list(plan.decisions)
    for name, before in plan.configurations.items():
        revised = (resized(one, before=before, after=found[name], see=kind + name) for one in decisions)
        decisions = [one for one in revised if one is not None]
    return plan.model_copy(update={"decisions": tuple(decisions)})


def _predicted(one: Configuration, plan: Plan) -> Configuration:
    """The configuration with its predicted memory; None for a network of third parties."""
    channels = plan.input_channels(one)
    training = training_memory(one, channels=channels, labels=plan.labels, training=plan.training)
    prediction = prediction_memory(one, channels=channels, labels=plan.labels)
    return one.model_copy(
        update={
            "predicted_training_bytes": training.total if training else None,
            "predicted_prediction_bytes": prediction.total if prediction else None,
        }
    )


def _fits(one: Configuration) -> bool:
    taken, room = one.predicted_training_bytes, one.memory_budget_bytes
    return taken is None or room is None or taken <= room


def _reduced(one: Configuration, plan: Plan, *, sizing: Sizing, room: Room, outputs: int) -> Configuration:
    if _fits(one):
        return one
    preset = room.budget.preset
    path = shrinking(sizing.spacing_mm, sizing.median_shape)
    for design in path[sizing.shrunk :]:
        price = cost(design, preset, outputs=outputs)
        smaller = one.model_copy(
            update={
                "patch_size": design.patch_size,
                "network": network_spec(design, preset),
                "cost": price,
                "batch_size": preset.smallest_batch,
            }
        )
        if not _fits(_predicted(smaller, plan)):
            continue
        limits = batch_limits(design, price, budget=room.budget, dataset_voxels=sizing.dataset_voxels)
        return _largest_batch(smaller, plan, most=max(min(limits), preset.smallest_batch))
    raise _nothing_fits(one, plan, sizing=sizing, room=room)


def _largest_batch(one: Configuration, plan: Plan, *, most: int) -> Configuration:
    """The configuration with the largest batch that fits, between its own, which does, and `most`."""
    fits, fails = one.batch_size, most + 1
    while fails - fits > 1:
        tried = (fits + fails) // 2
        if _fits(_predicted(one.model_copy(update={"batch_size": tried}), plan)):
            fits = tried
        else:
            fails = tried
    return _predicted(one.model_copy(update={"batch_size": fits}), plan)


def least_gb(
    spacing_mm: Sequence[float], median_shape: Sequence[float], *, preset: Preset, channels: int, labels: LabelScheme
) -> float:
    """The memory in GB from which on the smallest design for such images is not refused, rounded up to hundredths."""
    design = shrinking(spacing_mm, median_shape)[-1]
    needed = step_memory(
        Network(
            spec=network_spec(design, preset),
            patch_size=design.patch_size,
            batch_size=preset.smallest_batch,
            in_channels=channels,
            out_channels=labels.output_channels,
            number_bytes=NUMBER_BYTES[chosen_precision(TrainingSettings())],
        ),
        labels=labels,
        training=TrainingSettings(),
    )
    return math.ceil(needed.total / ROUGHNESS / GIB * 100) / 100


def _nothing_fits(one: Configuration, plan: Plan, *, sizing: Sizing, room: Room) -> PlanError:
    least = least_gb(
        sizing.spacing_mm,
        sizing.median_shape,
        preset=room.budget.preset,
        channels=plan.input_channels(one),
        labels=plan.labels,
    )
    return too_small(room.budget, least=least)


def _stated(one: Configuration, *, before: Configuration | None = None) -> Decision:
    """What a configuration is predicted to take, and what was done where that was too much."""
    training, prediction = one.predicted_training_bytes, one.predicted_prediction_bytes
    if training is None or prediction is None:
        because = f"{one.network.kind} is not one of autoseg's own networks; autoseg_plan --probe measures it"
        return Decision(name=MEMORY + one.name, value="not known", because=because, source=SOURCE)
    room = "" if one.memory_budget_bytes is None else f" of {gigabytes(one.memory_budget_bytes)} at most"
    value = f"{gigabytes(training)} in training{room}, {gigabytes(prediction)} in prediction"
    because = "weights, gradients, optimiser, what is kept for the way back in bf16, batches, workspace and context"
    if before is not None and before.patch_size != one.patch_size:
        because = (
            f"the rule's {_size(before)} would take {gigabytes(before.predicted_training_bytes)}; reduced until it fits"
        )
    elif before is not None and before.batch_size != one.batch_size:
        because = (
            f"the rule's batch of {before.batch_size} would take {gigabytes(before.predicted_training_bytes)}; reduced"
        )
    elif not _fits(one):
        because += "; more than there is: use a smaller patch or batch, or autoseg_plan --probe"
    return Decision(name=MEMORY + one.name, value=value, because=because, source=SOURCE)


def _larger_than_image(one: Configuration) -> list[Decision]:
    """A patch that exceeds the median image, with the next smaller one that does not."""
    divisor = total_stride(one.network.strides)
    smaller = smaller_patch(one)
    if smaller == one.patch_size or math.prod(smaller) < FEWEST_VOXELS:
        return []
    return [
        Decision(
            name=f"patch of {one.name} beyond the image",
            value=f"kept: {times(one.patch_size)}",
            because=(
                f"the median image has {times(one.median_shape)} voxels, but the rule rounds up to multiples of "
                f"{times(divisor)}; the smaller one costs {math.prod(smaller) / math.prod(one.patch_size):.0%}: "
                f"--set {one.name}.patch_size={','.join(map(str, smaller))}"
            ),
            source="autoseg",
        )
    ]


def smaller_patch(one: Configuration) -> tuple[int, ...]:
    """The patch with each edge that exceeds the median image cut to the largest multiple of the strides within it."""
    steps = total_stride(one.network.strides)
    edges = zip(one.patch_size, one.median_shape, steps, strict=True)
    return tuple(max(int(n // step) * step, step) if edge > n else edge for edge, n, step in edges)


def _replaced(plan: Plan, configurations: Mapping[str, Configuration], decisions: Sequence[Decision]) -> Plan:
    """The plan with other configurations; decisions of the same name stay where they are, others come last."""
    new = {decision.name: decision for decision in decisions}
    kept = tuple(new.pop(decision.name, decision) for decision in plan.decisions)
    return plan.model_copy(update={"configurations": dict(configurations), "decisions": (*kept, *new.values())})


def _size(one: Configuration) -> str:
    return f"patch of {times(one.patch_size)} with a batch of {one.batch_size}"


def gigabytes(size: int | None) -> str:
    """A number of bytes in GB (2^30 bytes), to a tenth: "7.5 GB"."""
    return "unknown" if size is None else f"{size / GIB:.1f} GB"
