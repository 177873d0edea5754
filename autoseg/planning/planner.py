"""From facts about a data set to a plan: arithmetic on numbers, no files and no GPU."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.data.image import Spacing
from autoseg.errors import PlanError, unknown_name
from autoseg.planning import decisions as why
from autoseg.planning.facts import Facts
from autoseg.planning.fitting import Room, fitted, least_gb, network_spec
from autoseg.planning.mirroring import mirror_axes
from autoseg.planning.plan import Configuration, Decision, Normalisation, Plan, Resampling, TrainingSettings
from autoseg.planning.presets import PRESETS, Preset
from autoseg.planning.regions import about_regions
from autoseg.planning.rules import (
    MASK_BELOW,
    NORMALISATIONS,
    AxisOrder,
    axis_order,
    resampled_shape,
    target_spacing,
)
from autoseg.planning.sizing import Budget, Sizing, fit, least_memory, shrinking, too_small
from autoseg.planning.tradeoff import about_tradeoff

LOW_RESOLUTION_BELOW = 0.25
"""A patch that covers less of the median image than this asks for a lower resolution too."""
SPACING_STEP = 1.03
"""Factor by which spacing grows in the search for the lower resolution."""
WORTHWHILE = 2
"""The full resolution has at least this many times the voxels of a lower one that is worth training."""


@dataclass(frozen=True)
class Resolution:
    """Full resolution of a data set with axes in their final order: spacing in mm, median shape in voxels."""

    order: AxisOrder
    spacing_mm: Spacing
    median_shape: Spacing

    @property
    def is_flat(self) -> bool:
        """Whether the images are 2-D."""
        return self.median_shape[0] == 1


def make_plan(
    facts: Facts, *, preset: str = "nnunet", gpu_memory_gb: float | None = None, device_bytes: int | None = None
) -> Plan:
    """The plan for a data set, with the reason of every choice.

    `preset` names an entry of PRESETS; `gpu_memory_gb` defaults to what the preset was made for. `device_bytes` is the
    memory of the smallest GPU in sight, which no configuration may exceed. The same facts give the same plan on every
    machine whose GPU holds it. Raises UnknownNameError for a preset that does not exist, PlanError when no network
    fits the memory, and LabelError for a label that its regions cannot bring back.
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    budget = _budget(PRESETS[preset], gpu_memory_gb)
    full = full_resolution(facts)
    normalisation = normalisations(facts)
    sizings = size_all(full, facts=facts, budget=budget)
    axes, mirroring = mirror_axes(facts, order=full.order)
    made = Plan(
        dataset=facts.dataset,
        channels=facts.channels,
        labels=facts.labels,
        file_ending=facts.file_ending,
        orientation=facts.orientation,
        transpose_forward=full.order,
        preset=preset,
        gpu_memory_gb=budget.gpu_memory_gb,
        configurations=configurations(sizings, budget=budget, normalisation=normalisation),
        training=TrainingSettings(mirror_axes=axes, loss=_loss(facts)),
        decisions=(
            *why.about_data(facts, spacing_mm=full.spacing_mm, order=full.order, normalisation=normalisation),
            *_about_sizes(sizings, budget=budget, outputs=facts.label_entries),
            *why.about_low_resolution(sizings),
            mirroring,
            *about_regions(facts.labels, label_voxels=facts.label_voxels),
        ),
        made_from=facts.made_from,
    )
    return fitted(made, sizings, room=Room(budget, device_bytes), outputs=facts.label_entries)


def _about_sizes(sizings: Mapping[str, Sizing], *, budget: Budget, outputs: int) -> Iterator[Decision]:
    for name, sizing in sizings.items():
        yield from why.about_size(name, sizing, budget=budget)
        yield from about_tradeoff(name, sizing, budget=budget, outputs=outputs)


def _loss(facts: Facts) -> str:
    """The loss for what is predicted: classes exclude each other, regions do not."""
    return "dice_bce" if facts.labels.target == "regions" else "dice_ce"


def _budget(preset: Preset, gpu_memory_gb: float | None) -> Budget:
    memory = preset.reference_gb if gpu_memory_gb is None else gpu_memory_gb
    if not (math.isfinite(memory) and memory > 0):
        raise PlanError(f"GPU memory {memory:g} GB: expected a positive number of GB, for example 8.")
    return Budget(preset=preset, gpu_memory_gb=memory)


def full_resolution(facts: Facts) -> Resolution:
    """Target spacing and median shape of the resampled cases, coarsest axis first."""
    target = target_spacing(facts.spacings_mm, facts.shapes)
    order = axis_order(target)
    resampled = [
        resampled_shape(shape, current_mm=spacing, new_mm=target)
        for shape, spacing in zip(facts.shapes, facts.spacings_mm, strict=True)
    ]
    median = np.median(np.array(resampled), axis=0)
    return Resolution(order=order, spacing_mm=_ordered(target, order), median_shape=_ordered(median, order))


def _ordered(values: Sequence[float], order: AxisOrder) -> Spacing:
    z, y, x = (float(values[axis]) for axis in order)
    return z, y, x


def normalisations(facts: Facts) -> tuple[Normalisation, ...]:
    """How each channel is normalised: by its name, inside the body only where cropping removes over a quarter."""
    inside = facts.use_mask or facts.relative_size < MASK_BELOW
    return tuple(_normalisation(facts, index, inside=inside) for index in range(len(facts.channels)))


def _normalisation(facts: Facts, index: int, *, inside: bool) -> Normalisation:
    scheme = NORMALISATIONS.get(facts.channels[index].casefold(), "zscore")
    if scheme != "ct":
        return Normalisation(scheme=scheme, use_mask=inside and scheme == "zscore")
    if not facts.intensities:
        raise PlanError(
            f"channel {facts.channels[index]!r} is CT and is normalised by the intensities of the foreground, but no case "
            "has foreground. Check the labels, or rename the channel."
        )
    found = facts.intensities[index]
    return Normalisation(
        scheme="ct",
        lower=found.percentile_00_5,
        upper=found.percentile_99_5,
        mean=found.mean,
        deviation=max(found.deviation, 1e-8),
    )


def size_all(full: Resolution, *, facts: Facts, budget: Budget) -> dict[str, Sizing]:
    """Patch, network and batch of each configuration that the data set needs, by name."""
    _check_budget(full, facts=facts, budget=budget)
    voxels = math.prod(full.median_shape) * facts.training_cases
    sized = {}
    if not full.is_flat:
        sized["3d_fullres"] = fit(
            full.spacing_mm, full.median_shape, budget=budget, outputs=facts.label_entries, dataset_voxels=voxels
        )
        lower = low_resolution(sized["3d_fullres"], facts=facts, budget=budget)
        if lower is not None:
            sized["3d_lowres"] = lower
    in_plane = fit(
        full.spacing_mm[1:], full.median_shape[1:], budget=budget, outputs=facts.label_entries, dataset_voxels=voxels
    )
    return {"2d": in_plane, **sized}


def _check_budget(full: Resolution, *, facts: Facts, budget: Budget) -> None:
    """Raise PlanError when the memory is too small for the smallest network, naming what all configurations need."""
    planes = [(full.spacing_mm[1:], full.median_shape[1:])]
    volumes = [] if full.is_flat else [(full.spacing_mm, full.median_shape)]
    needed = [
        least_memory(shrinking(spacing, shape), preset=budget.preset, outputs=facts.label_entries)
        for spacing, shape in (*planes, *volumes)
    ]
    if budget.gpu_memory_gb < max(needed):
        channels = len(facts.channels) + len(facts.labels.foreground)
        predicted = [
            least_gb(spacing, shape, preset=budget.preset, channels=channels, labels=facts.labels)
            for spacing, shape in (*planes, *volumes)
        ]
        raise too_small(budget, least=max(*needed, *predicted))


def largest_batches(facts: Facts, plan: Plan) -> dict[str, int]:
    """The largest batch of each configuration of `plan` that its share of the data set allows."""
    full, preset = full_resolution(facts), PRESETS[plan.preset]
    found = {}
    for name, one in plan.configurations.items():
        voxels = math.prod(full.median_shape if one.dimensions == 2 else one.median_shape) * facts.training_cases
        found[name] = max(round(voxels * preset.dataset_share / math.prod(one.patch_size)), preset.smallest_batch)
    return found


def low_resolution(full: Sizing, *, facts: Facts, budget: Budget) -> Sizing | None:
    """The first lower resolution whose patch covers a quarter of the median image.

    None where the full one covers that much, or where a lower one saves less than half of the voxels. Spacing grows in
    steps of 3 %, first only along axes less than half as coarse as the coarsest.
    Source: Isensee et al., Nature Methods 18 (2021), supplement.
    """
    found, spacing = None, list(full.spacing_mm)
    all_voxels = voxels = math.prod(full.median_shape)
    covered = math.prod(full.design.patch_size)
    while covered / voxels < LOW_RESOLUTION_BELOW:
        coarsest = max(spacing)
        behind = [coarsest / mm > 2 for mm in spacing]
        spacing = [mm * SPACING_STEP if late or not any(behind) else mm for mm, late in zip(spacing, behind, strict=True)]
        shape = [old / new * n for old, new, n in zip(full.spacing_mm, spacing, full.median_shape, strict=True)]
        voxels = math.prod(shape)
        found = fit(
            spacing,
            [max(round(n), 1) for n in shape],
            budget=budget,
            outputs=facts.label_entries,
            dataset_voxels=voxels * facts.training_cases,
        )
        covered = math.prod(found.design.patch_size)
    return found if all_voxels / voxels >= WORTHWHILE else None


def configurations(
    sizings: dict[str, Sizing], *, budget: Budget, normalisation: tuple[Normalisation, ...]
) -> dict[str, Configuration]:
    """The configurations of a plan by name; a cascade refines at full resolution what the lower one found."""
    pools = {"2d": True, "3d_lowres": False, "3d_fullres": "3d_lowres" in sizings}
    found = {
        name: _configuration(name, sizings[name], preset=budget.preset, normalisation=normalisation, batch_dice=pools[name])
        for name in pools
        if name in sizings
    }
    if "3d_lowres" in found:
        second = found["3d_fullres"].model_copy(update={"name": "3d_cascade_fullres", "previous_stage": "3d_lowres"})
        found["3d_cascade_fullres"] = second
    return found


def _configuration(
    name: str, sizing: Sizing, *, preset: Preset, normalisation: tuple[Normalisation, ...], batch_dice: bool
) -> Configuration:
    design = sizing.design
    return Configuration(
        name=name,
        dimensions=3 if len(design.patch_size) == 3 else 2,
        spacing_mm=sizing.spacing_mm,
        median_shape=sizing.median_shape,
        patch_size=design.patch_size,
        batch_size=sizing.batch_size,
        normalisation=normalisation,
        resampling=Resampling(),
        network=network_spec(design, preset),
        batch_dice=batch_dice,
        cost=sizing.sample_cost,
    )
