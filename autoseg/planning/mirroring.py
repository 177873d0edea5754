"""Which axes augmentation and prediction may mirror, and which labels that exchanges."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.data.labels import LabelScheme
from autoseg.errors import PlanError, unknown_name
from autoseg.planning.facts import Facts
from autoseg.planning.plan import Decision, Plan, TrainingSettings
from autoseg.planning.rules import AxisOrder, mirrored_pairs, one_sided

AXES = "zyx"
BY_NAME = "by_name"
MIRROR_AXES = "mirror axes"


@dataclass(frozen=True)
class Exchange:
    """What mirroring along `axis` (0 = z, of the network's volume) exchanges.

    `classes[i]` is the class that class i turns into, `outputs[i]` the channel that output channel i turns into; twice
    gives back what was there.
    """

    axis: int
    classes: tuple[int, ...]
    outputs: tuple[int, ...]

    def inputs(self, channels: int, *, masks: int) -> tuple[int, ...]:
        """The same for the channels of an input: `channels` of the image, then `masks` of a previous stage's labels."""
        return (*range(channels), *(channels + self.classes[1 + mask] - 1 for mask in range(masks)))


def exchange_of(training: TrainingSettings, labels: LabelScheme) -> Exchange | None:
    """What mirroring exchanges under these settings; None where nothing is paired.

    Raises UnknownNameError for a pair of labels that are not there, PlanError for a label that is paired twice, for pairs
    without an axis, and for regions that would not turn into regions.
    """
    pairs, axis = training.mirror_pairs, training.paired_axis
    if not pairs:
        return None
    if axis is None:
        raise PlanError(
            "training.mirror_pairs: expected training.paired_axis too, the axis from left to right (0, 1 or 2)."
        )
    classes = _exchanged_classes(pairs, [label.name for label in labels.labels])
    outputs = classes if labels.target == "labels" else _exchanged_regions(classes, labels)
    return Exchange(axis=axis, classes=classes, outputs=outputs)


def _exchanged_classes(pairs: Sequence[tuple[str, str]], names: Sequence[str]) -> tuple[int, ...]:
    classes = list(range(len(names)))
    named = [name for pair in pairs for name in pair]
    for name in named:
        if name not in names[1:]:
            raise unknown_name("label in training.mirror_pairs", name, names[1:])
        if named.count(name) > 1:
            raise PlanError(
                f"training.mirror_pairs: {name!r} is named {named.count(name)} times. Each label has one counterpart."
            )
    for first, second in pairs:
        a, b = names.index(first), names.index(second)
        classes[a], classes[b] = b, a
    return tuple(classes)


def _exchanged_regions(classes: Sequence[int], labels: LabelScheme) -> tuple[int, ...]:
    """The region that each region turns into."""
    members = [frozenset(labels.classes_of(region)) for region in labels.regions]
    found = []
    for region, inside in zip(labels.regions, members, strict=True):
        turned = frozenset(classes[index] for index in inside)
        if turned not in members:
            names = ", ".join(labels.labels[index].name for index in sorted(turned))
            raise PlanError(
                f"training.mirror_pairs: mirrored, region {region.name!r} would hold {names}, which is no region. Pair "
                "labels so that every region turns into a region."
            )
        found.append(members.index(turned))
    return tuple(found)


def pairs_by_name(labels: LabelScheme) -> list[tuple[str, str]]:
    """The labels that differ in left and right only. Raises PlanError where there are none."""
    pairs = mirrored_pairs([label.name for label in labels.foreground])
    if not pairs:
        named = ", ".join(label.name for label in labels.foreground)
        raise PlanError(
            f"training.mirror_pairs={BY_NAME}: no two labels differ in left and right only ({named}). Name the pairs: "
            '--set \'training.mirror_pairs=[["A","B"]]\'.'
        )
    return pairs


def with_pairs(plan: Plan, *, keeps_axes: bool) -> Plan:
    """The plan whose labels are paired, with the axis that goes with it, mirrored too unless `keeps_axes`."""
    training = plan.training
    if not training.mirror_pairs:
        return plan
    axis = training.paired_axis
    if axis is None:
        axis = plan.transpose_forward.index(left_right_axis(plan.orientation))
    axes = training.mirror_axes if keeps_axes else tuple(sorted({*training.mirror_axes, axis}))
    known = f"in orientation {plan.orientation}" if plan.orientation else "as far as the orientation is known"
    listed = ", ".join(" / ".join(pair) for pair in training.mirror_pairs[:3])
    decision = Decision(
        name=MIRROR_AXES,
        value=", ".join(AXES[plan.transpose_forward[one]] for one in axes) or "none",
        because=(
            f"mirroring along {AXES[plan.transpose_forward[axis]]}, the axis from left to right {known}, exchanges "
            f"{listed}, in training and in the mirrored passes of prediction"
        ),
        source="--set",
    )
    return plan.model_copy(
        update={
            "training": training.model_copy(update={"mirror_axes": axes, "paired_axis": axis}),
            "decisions": tuple(decision if one.name == MIRROR_AXES else one for one in plan.decisions),
        }
    )


def mirror_axes(facts: Facts, *, order: AxisOrder) -> tuple[tuple[int, ...], Decision]:
    """The axes that may be mirrored, counted after `order` is applied, and why.

    All of them, unless the data set's template says otherwise, or labels come in left and right: a mirrored left
    kidney would look like a right one, so the axis from left to right stays.
    """
    if facts.mirror_axes is not None:
        because = "the template of the data set says so"
        return _chosen(facts.mirror_axes, order=order, because=because, source="data set template")
    names = label_names(facts.labels)
    pairs = mirrored_pairs(names)
    if not pairs:
        because, sided = "no two labels differ only in left and right", one_sided(names)
        if sided:
            because += (
                f" ({', '.join(sided[:3])} has no counterpart; if the other side can be mistaken for it, take the axis "
                "from left to right away with --set training.mirror_axes)"
            )
        return _chosen((0, 1, 2), order=order, because=because, source="Isensee et al., Nature Methods 18 (2021)")
    sideways = left_right_axis(facts.orientation)
    known = f"in orientation {facts.orientation}" if facts.orientation else "taken for it, as the orientation is unknown"
    because = (
        f"labels come in pairs ({', '.join(' / '.join(pair) for pair in pairs[:3])}); mirroring along {AXES[sideways]}, "
        f"the axis from left to right {known}, would exchange them (--set training.mirror_pairs={BY_NAME} mirrors along it "
        "all the same and exchanges them back)"
    )
    axes = tuple(axis for axis in (0, 1, 2) if axis != sideways)
    return _chosen(axes, order=order, because=because, source="autoseg")


def label_names(labels: LabelScheme) -> list[str]:
    """Names of what is told apart: labels, and regions where those are trained on."""
    regions = [region.name for region in labels.regions] if labels.target == "regions" else []
    return list(dict.fromkeys([*(label.name for label in labels.foreground), *regions]))


def left_right_axis(orientation: str | None) -> int:
    """The axis (0 = z, 1 = y, 2 = x) that runs from left to right; x where the orientation is unknown."""
    codes = orientation or "RAS"
    return 2 - next(place for place, code in enumerate(codes) if code in "LR")


def _chosen(axes: tuple[int, ...], *, order: AxisOrder, because: str, source: str) -> tuple[tuple[int, ...], Decision]:
    named = ", ".join(AXES[axis] for axis in axes) or "none"
    decision = Decision(name=MIRROR_AXES, value=named, because=because, source=source)
    return tuple(sorted(order.index(axis) for axis in axes)), decision
