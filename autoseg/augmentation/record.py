"""What was drawn for a sample as plain values, to be kept as JSON and made again exactly."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from autoseg.augmentation import intensity, previous_stage
from autoseg.augmentation.elastic import Elastic
from autoseg.augmentation.policy import Augmentation
from autoseg.augmentation.spatial import Placing

STEPS: Mapping[str, Any] = {
    step.__name__: step
    for step in (
        intensity.Noise,
        intensity.Blur,
        intensity.Brightness,
        intensity.Shift,
        intensity.Contrast,
        intensity.LowResolution,
        intensity.Gamma,
        intensity.Absent,
        previous_stage.Reshape,
        previous_stage.RemoveComponent,
    )
}
"""Every step that can be drawn, by its name in a record."""


def as_plain(augmentation: Augmentation) -> dict[str, Any]:
    """Numbers, texts, lists and dicts that `from_plain` makes the same augmentation of."""
    return {
        "placing": asdict(augmentation.placing),
        "steps": [_named(step) for step in augmentation.steps],
        "mask_steps": [_named(step) for step in augmentation.mask_steps],
    }


def from_plain(plain: Mapping[str, Any]) -> Augmentation:
    """The augmentation that was recorded, also after a way through JSON. KeyError or TypeError for anything else."""
    placing = dict(plain["placing"])
    elastic = placing.pop("elastic")
    return Augmentation(
        placing=Placing(**_hashable(placing), elastic=None if elastic is None else Elastic(**_hashable(elastic))),
        steps=tuple(_step(step) for step in plain["steps"]),
        mask_steps=tuple(_step(step) for step in plain["mask_steps"]),
    )


def _named(step: Any) -> dict[str, Any]:
    return {"step": type(step).__name__, **asdict(step)}


def _step(plain: Mapping[str, Any]) -> Any:
    values = dict(plain)
    return STEPS[values.pop("step")](**_hashable(values))


def _hashable(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tuples(value) for name, value in values.items()}


def _tuples(value: Any) -> Any:
    """JSON has lists only."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
