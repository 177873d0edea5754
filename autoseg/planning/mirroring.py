"""Which axes augmentation and prediction may mirror."""

from autoseg.planning.facts import Facts
from autoseg.planning.plan import Decision
from autoseg.planning.rules import AxisOrder, mirrored_pairs

AXES = "zyx"


def mirror_axes(facts: Facts, *, order: AxisOrder) -> tuple[tuple[int, ...], Decision]:
    """The axes that may be mirrored, counted after `order` is applied, and why.

    All of them, unless the data set's template says otherwise, or labels come in left and right: a mirrored left
    kidney would look like a right one, so the axis from left to right stays.
    """
    if facts.mirror_axes is not None:
        because = "the template of the data set says so"
        return _chosen(facts.mirror_axes, order=order, because=because, source="data set template")
    pairs = mirrored_pairs([label.name for label in facts.labels.foreground])
    if not pairs:
        because = "no two labels differ only in left and right"
        return _chosen((0, 1, 2), order=order, because=because, source="Isensee et al., Nature Methods 18 (2021)")
    sideways = left_right_axis(facts.orientation)
    known = f"in orientation {facts.orientation}" if facts.orientation else "taken for it, as the orientation is unknown"
    because = (
        f"labels come in pairs ({', '.join(' / '.join(pair) for pair in pairs[:3])}); mirroring along {AXES[sideways]}, "
        f"the axis from left to right {known}, would exchange them"
    )
    axes = tuple(axis for axis in (0, 1, 2) if axis != sideways)
    return _chosen(axes, order=order, because=because, source="autoseg")


def left_right_axis(orientation: str | None) -> int:
    """The axis (0 = z, 1 = y, 2 = x) that runs from left to right; x where the orientation is unknown."""
    codes = orientation or "RAS"
    return 2 - next(place for place, code in enumerate(codes) if code in "LR")


def _chosen(axes: tuple[int, ...], *, order: AxisOrder, because: str, source: str) -> tuple[tuple[int, ...], Decision]:
    named = ", ".join(AXES[axis] for axis in axes) or "none"
    decision = Decision(name="mirror axes", value=named, because=because, source=source)
    return tuple(sorted(order.index(axis) for axis in axes)), decision
