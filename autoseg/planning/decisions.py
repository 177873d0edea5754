"""The reasons of a plan in words: what was chosen, the numbers behind it, the rule and its source."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

from autoseg.data.image import Spacing
from autoseg.planning.facts import Facts
from autoseg.planning.plan import Configuration, Decision, Normalisation
from autoseg.planning.presets import NNUNET
from autoseg.planning.rules import MASK_BELOW, AxisOrder, coarse_axis, median_shape, median_spacing
from autoseg.planning.sizing import FEWEST_VOXELS, Budget, Sizing

AXES = "zyx"


def about_data(
    facts: Facts, *, spacing_mm: Spacing, order: AxisOrder, normalisation: Sequence[Normalisation]
) -> list[Decision]:
    """Why images are brought to this spacing, axis order, orientation and intensity scale."""
    return [
        _orientation(facts),
        _spacing(facts, spacing_mm=spacing_mm, order=order),
        Decision(
            name="axis order",
            value="".join(AXES[axis] for axis in order),
            because=f"the axis with the largest spacing comes first: {AXES[order[0]]} with {spacing_mm[0]:.4g} mm",
            source=NNUNET,
        ),
        *(_normalisation(facts, index, scheme) for index, scheme in enumerate(normalisation)),
    ]


def _orientation(facts: Facts) -> Decision:
    if facts.orientation is None:
        because = "images have no orientation, or it is not known"
        return Decision(name="orientation", value="as stored", because=because, source="autoseg")
    because = "most training cases are stored so; others are turned first"
    return Decision(name="orientation", value=facts.orientation, because=because, source="autoseg")


def _spacing(facts: Facts, *, spacing_mm: Spacing, order: AxisOrder) -> Decision:
    median, size = median_spacing(facts.spacings_mm), median_shape(facts.shapes)
    axis = coarse_axis(facts.spacings_mm, facts.shapes)
    numbers = f"median spacing {times(median)} mm, median shape {times(size)} voxels after cropping (z, y, x)"
    rule = "the median of each axis"
    if axis is not None:
        rule = (
            f"{AXES[axis]} is coarse (over three times the other spacings and under a third of their voxels), so it takes "
            f"the 10th percentile of its spacings, {spacing_mm[order.index(axis)]:.4g} mm, but no less than the others"
        )
    value = f"{times(spacing_mm)} mm"
    return Decision(name="target spacing", value=value, because=f"{numbers}: {rule}", source=NNUNET)


def _normalisation(facts: Facts, index: int, chosen: Normalisation) -> Decision:
    name = facts.channels[index]
    share = f"cropping leaves {facts.relative_size:.1%} of the median case, {{}} than {MASK_BELOW:.0%}"
    if chosen.scheme == "ct":
        value = (
            f"clip to {chosen.lower:g} .. {chosen.upper:g}, subtract {chosen.mean:.5g}, divide by {chosen.deviation:.5g}"
        )
        because = "the channel is called CT: 0.5th and 99.5th percentile, mean and deviation of the data set's foreground"
    elif chosen.scheme == "zscore":
        value = "z-score of the case inside the body" if chosen.use_mask else "z-score of the case"
        because = share.format("less" if chosen.use_mask else "no less")
        if facts.use_mask:
            because = "the data set asks for it"
    else:
        value, because = chosen.scheme, f"the channel is called {name}"
    return Decision(name=f"normalisation of {name}", value=value, because=because, source=NNUNET)


def about_size(name: str, sizing: Sizing, *, budget: Budget) -> list[Decision]:
    """Why a configuration has this patch, network and batch."""
    return [_patch(name, sizing, budget=budget), _network(name, sizing, budget=budget), _batch(name, sizing, budget=budget)]


def _patch(name: str, sizing: Sizing, *, budget: Budget) -> Decision:
    dimensions = len(sizing.spacing_mm)
    start = times(sizing.start_patch)
    way = f"the rule starts from {start} and need not shrink it, which costs"
    if sizing.shrunk:
        steps = "one step" if sizing.shrunk == 1 else f"{sizing.shrunk} steps"
        way = f"the rule starts from {start} and takes {steps}, each along the axis that covers most of it, down to"
    because = (
        f"the median image, cropped and resampled, has {times(sizing.median_shape)} voxels; {way} "
        f"{sizing.sample_cost / 1e6:.1f} million feature-map elements; {budget.gpu_memory_gb:g} GB stand for "
        f"{budget.cost_limit(dimensions) / 1e6:.0f} million with a batch of {budget.preset.reference_batch(dimensions)}"
    )
    larger = any(n > median for n, median in zip(sizing.design.patch_size, sizing.median_shape, strict=True))
    if math.prod(sizing.median_shape) < FEWEST_VOXELS:
        because += f"; it exceeds the median image because no network can be trained on fewer than {FEWEST_VOXELS} voxels"
    elif larger:
        because += f"; it exceeds the median image because each axis is a multiple of {times(sizing.design.divisor)}"
    value = times(sizing.design.patch_size)
    return Decision(name=f"patch of {name}", value=value, because=because, source=budget.preset.source)


def _network(name: str, sizing: Sizing, *, budget: Budget) -> Decision:
    design = sizing.design
    return Decision(
        name=f"network of {name}",
        value=network_in_words(budget.preset.kind, strides=design.strides, kernels=design.kernels),
        because=(
            f"axes are halved while 8 voxels are left and their spacing, {times(sizing.spacing_mm)} mm at first, is less "
            "than twice the finest"
        ),
        source=budget.preset.source,
    )


def network_in_words(kind: str, *, strides: Sequence[Sequence[int]], kernels: Sequence[Sequence[int]]) -> str:
    """Stages, strides between them and kernels of a network, fine to coarse.

    For example "plain_unet of 3 stages; strides 1x2x2, 2x2x2; kernels 1x3x3, 3x3x3 (2 times)".
    """
    stages = f"{kind} of {len(strides)} stage{'s' if len(strides) > 1 else ''}"
    return f"{stages}; strides {_in_a_row(strides[1:])}; kernels {_in_a_row(kernels)}"


def _in_a_row(rows: Sequence[Sequence[int]]) -> str:
    found = []
    for row, same in groupby("x".join(map(str, row)) for row in rows):
        count = len(list(same))
        found.append(row if count == 1 else f"{row} ({count} times)")
    return ", ".join(found) or "none"


def resized(decision: Decision, *, before: Configuration, after: Configuration, see: str) -> Decision | None:
    """The decision about a size of a configuration, which the decision `see` has changed since; None if it is void now."""
    kind, _, name = decision.name.partition(" of ")
    if name != after.name or (before.patch_size, before.batch_size) == (after.patch_size, after.batch_size):
        return decision
    network = after.network
    now = {
        "patch": times(after.patch_size),
        "batch": str(after.batch_size),
        "network": network_in_words(network.kind, strides=network.strides, kernels=network.kernels),
    }
    if kind == "trade-off":
        return None
    if now.get(kind, decision.value) == decision.value:
        return decision
    because = f"{decision.because}. By that rule it was {decision.value}; changed by {see}"
    return decision.model_copy(update={"value": now[kind], "because": because})


def _batch(name: str, sizing: Sizing, *, budget: Budget) -> Decision:
    preset = budget.preset
    because = (
        f"the memory allows {sizing.batch_by_memory}, {preset.dataset_share:.0%} of the voxels of the data set are "
        f"{sizing.batch_by_share} patches, and {preset.smallest_batch} is the least"
    )
    return Decision(name=f"batch of {name}", value=str(sizing.batch_size), because=because, source=preset.source)


def about_low_resolution(sizings: Mapping[str, Sizing]) -> list[Decision]:
    """Why there is a lower resolution with a cascade, or none."""
    if "3d_fullres" not in sizings:
        because = "the median image has one slice"
        return [Decision(name="3-D configurations", value="no", because=because, source=NNUNET)]
    full = sizings["3d_fullres"]
    share = math.prod(full.design.patch_size) / math.prod(full.median_shape)
    covered = f"the patch covers {share:.0%} of the median image at full resolution"
    if "3d_lowres" not in sizings:
        rule = "25 % are enough" if share >= 0.25 else "but a lower resolution would save less than half of the voxels"
        return [Decision(name="low resolution", value="no", because=f"{covered}; {rule}", source=NNUNET)]
    low = sizings["3d_lowres"]
    value = f"yes, at {times(low.spacing_mm)} mm"
    because = f"{covered}, less than 25 %; here it covers {_coverage(low):.0%} of {times(low.median_shape)} voxels"
    cascade = "a low resolution exists, whose result a second network refines at full resolution"
    return [
        Decision(name="low resolution", value=value, because=because, source=NNUNET),
        Decision(name="cascade", value="yes", because=cascade, source=NNUNET),
    ]


def _coverage(sizing: Sizing) -> float:
    return math.prod(sizing.design.patch_size) / math.prod(sizing.median_shape)


def times(values: Sequence[float]) -> str:
    """Sizes in a row: "1 x 0.79 x 0.79"."""
    return " x ".join(f"{value:.4g}" for value in values)
