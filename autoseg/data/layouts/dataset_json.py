"""Reading dataset.json: its keys, and labels and regions as the Decathlon and nnU-Net write them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autoseg.artefacts import describe
from autoseg.data.labels import Label, LabelScheme, Region, outer_first, train_on_regions
from autoseg.errors import DatasetError, LabelError, number_of

NAME = "dataset.json"
_IGNORE = "ignore"


def read_json(file: Path) -> Any:
    """The content of a JSON file. Raises DatasetError with line and column where it is not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{file}: not JSON (line {error.lineno}, column {error.colno}: {error.msg}).") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}).") from error


def required(content: Mapping[str, Any], key: str, *, file: Path, kind: type) -> Any:
    """The value of `key`. Raises DatasetError when it is missing or not of `kind`."""
    if key not in content:
        raise DatasetError(f"{file}: the key {key!r} is missing. Found: {', '.join(map(repr, content)) or 'no key'}.")
    if not isinstance(content[key], kind):
        raise DatasetError(f"{file}: {key}: expected {_KINDS[kind]}, found {content[key]!r:.80}.")
    return content[key]


_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "text"}


def channel_names(channels: Any, *, key: str, file: Path) -> tuple[str, ...]:
    """Names of channels from {"0": name, "1": name, ...} or a list of names."""
    if isinstance(channels, list) and channels and all(isinstance(name, str) for name in channels):
        return tuple(channels)
    if isinstance(channels, dict) and channels and all(str(index) in channels for index in range(len(channels))):
        return tuple(str(channels[str(index)]) for index in range(len(channels)))
    raise DatasetError(f'{file}: {key}: expected {{"0": name, "1": name, ...}}, found {channels!r:.120}.')


def label_scheme(content: Mapping[str, Any], file: Path, *, as_listed: bool = False) -> LabelScheme:
    """The labels of a dataset.json: {"1": name} (Decathlon) or {name: 1}, also {name: [1, 2]} for regions (nnU-Net).

    A label called "ignore" marks voxels without annotation. Raises DatasetError naming the key, and LabelError when
    regions and `regions_class_order` contradict each other: painted outer ones first, they have to give every label back.
    Those of a model that was made by nnU-Net are taken `as_listed`: painted as nnU-Net does, whatever is lost.
    """
    values = _values_by_name(required(content, "labels", file=file, kind=dict), file)
    ignore = values.pop(_IGNORE, None)
    if isinstance(ignore, list):
        raise DatasetError(f"{file}: labels.ignore: expected an integer, found {ignore}.")
    try:
        if any(isinstance(value, list) and len(value) > 1 for value in values.values()):
            order = content.get("regions_class_order")
            found = _with_regions(values, order, ignore=ignore, file=file)
            return _listed(found) if as_listed and order is not None else train_on_regions(found)
        # A list of one value is that value: it makes no region, as with nnU-Net.
        single = {name: value[0] if isinstance(value, list) else value for name, value in values.items()}
        return plain_scheme(single, ignore=ignore)
    except ValidationError as error:
        raise DatasetError(f"{file}: labels: {describe(error).removeprefix('(whole file): ')}.") from error
    except LabelError as error:
        raise LabelError(f"{file}: labels: {error}") from error


def plain_scheme(values: Mapping[str, int], *, ignore: int | None = None) -> LabelScheme:
    """A scheme from values by name: the background first, added as 0 where it is not declared, then by value."""
    background = next((name for name in values if name.lower() == "background"), None)
    if background is None:
        background = next((name for name, value in values.items() if value == 0), None)
    first = Label(name="background", value=0) if background is None else Label(name=background, value=values[background])
    others = (Label(name=name, value=value) for name, value in values.items() if name != background)
    return LabelScheme(labels=(first, *sorted(others, key=lambda label: label.value)), ignore=ignore)


def _values_by_name(labels: Mapping[str, Any], file: Path) -> dict[str, int | list[int]]:
    """Values by label name, whichever of the two stands as key in the file."""
    if labels and all(_is_integer(key) for key in labels):
        return {str(name): int(key) for key, name in labels.items()}
    found: dict[str, int | list[int]] = {}
    for name, value in labels.items():
        if isinstance(value, list) and value and all(_is_integer(each) for each in value):
            found[name] = [int(each) for each in value]
        elif not isinstance(value, list) and _is_integer(value):
            found[name] = int(value)
        else:
            raise DatasetError(f"{file}: labels.{name}: expected an integer or a list of integers, found {value!r}.")
    return found


def _is_integer(value: Any) -> bool:
    return str(value).lstrip("-").isdigit() and not isinstance(value, bool)


def _with_regions(
    values: Mapping[str, int | list[int]], order: Sequence[int] | None, *, ignore: int | None, file: Path
) -> LabelScheme:
    """Regions in the order of definition; `order` holds the value that each writes (None: not known), as with nnU-Net."""
    background = next((name for name in values if name.lower() == "background" or values[name] == 0), None)
    sets = {
        name: tuple(value) if isinstance(value, list) else (value,) for name, value in values.items() if name != background
    }
    if order is not None and not (isinstance(order, list) and len(order) == len(sets) and all(map(_is_integer, order))):
        raise DatasetError(
            f"{file}: regions_class_order: expected {number_of(len(sets), 'value')}, one per region, found {order!r}."
        )
    written = [None] * len(sets) if order is None else [int(value) for value in order]
    regions = tuple(
        Region(name=name, values=members, writes=value)
        for (name, members), value in zip(sets.items(), written, strict=True)
    )
    labels = {_label_name(value, regions): value for value in sorted({v for members in sets.values() for v in members})}
    scheme = plain_scheme({background or "background": _background_value(values, background), **labels}, ignore=ignore)
    return LabelScheme(labels=scheme.labels, regions=regions, ignore=ignore)


def _listed(scheme: LabelScheme) -> LabelScheme:
    """The scheme with its regions as target, painted in the order they are listed in; what one writes is a label, too."""
    in_order = outer_first(scheme.regions) == list(range(len(scheme.regions)))
    declared = {label.value for label in scheme.labels}
    written = sorted({region.writes for region in scheme.regions if region.writes is not None} - declared)
    return LabelScheme(
        labels=(*scheme.labels, *(Label(name=_label_name(value, scheme.regions), value=value) for value in written)),
        regions=scheme.regions,
        ignore=scheme.ignore,
        target="regions",
        painting="outer_first" if in_order else "listed",
    )


def _background_value(values: Mapping[str, int | list[int]], background: str | None) -> int:
    value = 0 if background is None else values[background]
    return value if isinstance(value, int) else value[0]


def _label_name(value: int, regions: Sequence[Region]) -> str:
    """The name of the region that writes `value`, if there is just one."""
    writers = [region.name for region in regions if region.writes == value]
    return writers[0] if len(writers) == 1 else f"label_{value}"
