"""Facts for planning from the fingerprint and the dataset.json that nnU-Net writes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoseg.data.image import Shape, Spacing
from autoseg.data.layouts.dataset_json import channel_names, label_scheme, read_json
from autoseg.errors import PlanError
from autoseg.fingerprint.statistics import IntensityStatistics
from autoseg.planning.facts import Facts

STATISTICS = {
    "mean": "mean",
    "median": "median",
    "std": "deviation",
    "min": "lowest",
    "max": "highest",
    "percentile_00_5": "percentile_00_5",
    "percentile_99_5": "percentile_99_5",
}
"""Keys of nnU-Net's intensity properties, and the fields they stand for here."""


def facts_of_nnunet(fingerprint_file: Path, dataset_file: Path, *, name: str | None = None) -> Facts:
    """What nnU-Net's dataset_fingerprint.json and dataset.json tell the planner; `name` defaults to the folder's.

    Raises PlanError naming the file and the key that is missing or makes no sense.
    """
    fingerprint, dataset = _object(fingerprint_file), _object(dataset_file)
    channels = channels_of(dataset, dataset_file)
    spacings = [_triple(row, "spacings", fingerprint_file) for row in _rows(fingerprint, "spacings", fingerprint_file)]
    shapes = [
        _triple(row, "shapes_after_crop", fingerprint_file)
        for row in _rows(fingerprint, "shapes_after_crop", fingerprint_file)
    ]
    cases = dataset.get("numTraining", len(spacings))
    return Facts(
        dataset=name or dataset_file.resolve().parent.name,
        channels=channels,
        labels=label_scheme(dataset, dataset_file),
        file_ending=str(dataset.get("file_ending", ".nii.gz")),
        spacings_mm=tuple(spacings),
        shapes=tuple(_whole(shape, fingerprint_file) for shape in shapes),
        relative_size=_number(fingerprint, "median_relative_size_after_cropping", fingerprint_file),
        intensities=_intensities(fingerprint, channels, fingerprint_file),
        training_cases=_whole_number(cases, f"{dataset_file}: numTraining"),
        use_mask=bool(dataset.get("use_mask_for_norm", False)),
        reader=dataset.get("overwrite_image_reader_writer"),
    )


def _object(file: Path) -> Mapping[str, Any]:
    found = read_json(file)
    if not isinstance(found, dict):
        raise PlanError(f"{file}: expected a JSON object, found {type(found).__name__}.")
    return found


def _key(table: Mapping[str, Any], key: str, file: Path) -> Any:
    if key not in table:
        raise PlanError(f"{file}: {key}: missing. Known keys of this file: {', '.join(sorted(table)) or 'none'}.")
    return table[key]


def _number(table: Mapping[str, Any], key: str, file: Path) -> float:
    value = _key(table, key, file)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PlanError(f"{file}: {key}: expected a number, found {value!r}.")
    return float(value)


def _whole_number(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise PlanError(f"{where}: expected a whole number, found {value!r}.")
    return value


def _rows(table: Mapping[str, Any], key: str, file: Path) -> Sequence[Any]:
    rows = _key(table, key, file)
    if not isinstance(rows, list):
        raise PlanError(f"{file}: {key}: expected a list with an entry per case, found {rows!r}.")
    return rows


def _triple(row: Any, key: str, file: Path) -> Spacing:
    values = row if isinstance(row, list) else []
    is_number = [isinstance(value, int | float) and not isinstance(value, bool) for value in values]
    if is_number != [True] * 3:
        raise PlanError(f"{file}: {key}: expected three numbers (z, y, x) per case, found {row!r}.")
    return float(row[0]), float(row[1]), float(row[2])


def _whole(shape: Spacing, file: Path) -> Shape:
    if any(not value.is_integer() for value in shape):
        raise PlanError(f"{file}: shapes_after_crop: expected whole numbers of voxels, found {list(shape)}.")
    z, y, x = (int(value) for value in shape)
    return z, y, x


def _intensities(fingerprint: Mapping[str, Any], channels: Sequence[str], file: Path) -> tuple[IntensityStatistics, ...]:
    key = "foreground_intensity_properties_per_channel"
    table = _key(fingerprint, key, file)
    expected = [str(index) for index in range(len(channels))]
    if not isinstance(table, dict) or set(table) != set(expected):
        found = ", ".join(table) or "none" if isinstance(table, dict) else repr(table)
        named = ", ".join(f"{index} = {name}" for index, name in enumerate(channels))
        raise PlanError(
            f"{file}: {key}: expected an entry for each channel of dataset.json ({named}), found {found}. Name all "
            "channels in dataset.json, or use the one that the fingerprint was made with."
        )
    return tuple(_statistics(table[index], file=file, where=f"{key}.{index}") for index in expected)


def _statistics(entry: Any, *, file: Path, where: str) -> IntensityStatistics:
    if not isinstance(entry, dict):
        raise PlanError(f"{file}: {where}: expected an object with {', '.join(STATISTICS)}, found {entry!r}.")
    values = {field: _number(entry, key, file) for key, field in STATISTICS.items()}
    if values["deviation"] < 0:
        raise PlanError(f"{file}: {where}.std: expected 0 or more, found {values['deviation']:g}.")
    return IntensityStatistics(**values)


def channels_of(dataset: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    """The names of the channels in the content of a dataset.json. Raises PlanError where there are none."""
    key = "channel_names" if "channel_names" in dataset else "modality"
    if key not in dataset:
        raise PlanError(f"{file}: channel_names: missing. Expected a name for each channel, e.g. {{'0': 'CT'}}.")
    return channel_names(dataset[key], key=key, file=file)
