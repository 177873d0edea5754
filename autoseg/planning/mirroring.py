"""Which axes augmentation and prediction may mirror."""

from autoseg.data.labels import LabelScheme
from autoseg.planning.facts import Facts
from autoseg.planning.plan import Decision
from autoseg.planning.rules import AxisOrder, mirrored_pairs, one_sided

AXES = "zyx"


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
        f"the axis from left to right {known}, would exchange them"
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
    decision = Decision(name="mirror axes", value=named, because=because, source=source)
    return tuple(sorted(order.index(axis) for axis in axes)), decision
