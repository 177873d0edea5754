"""A list of files, wherever they lie: a CSV table or a JSON file with one entry a case."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoseg.data.dataset import Case
from autoseg.data.labels import LabelScheme
from autoseg.data.layouts.dataset_json import label_scheme, read_json
from autoseg.data.layouts.found import Found, OtherLayoutError, in_order, refuse_missing, relative
from autoseg.data.layouts.scan import scan_labels
from autoseg.data.readers import read_header
from autoseg.data.templates import Template
from autoseg.errors import DatasetError

LIST_NAMES = ("cases.csv", "dataset.csv", "cases.json", "dataset.json")


@dataclass(frozen=True)
class _List:
    """A list file as read: cases, the channels it names (none if it only numbers them), and its further keys."""

    file: Path
    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    declared: Mapping[str, Any] = field(default_factory=dict)


def find(place: Path, template: Template | None) -> Found:
    """The cases of a .csv or .json list, or of the list in a folder. Paths are relative to the list, or absolute.

    Entries without a label map are test cases. Labels come from the JSON list or the template where those declare them,
    else from the label maps, each of which is then read once.
    """
    listed = _read_list(place)
    root = listed.file.parent
    files = [(case.id, file) for case in listed.cases for file in (*case.images, case.label) if file is not None]
    refuse_missing([f"{case}: {file}" for case, file in files if not (root / file).exists()], listed.file)
    return Found(
        channels=listed.channels or _numbered_channels(listed.cases[0], root),
        labels=_labels(listed, template),
        cases=in_order(case for case in listed.cases if case.label is not None),
        test_cases=in_order(case for case in listed.cases if case.label is None),
        names=(root.name, listed.file.stem, str(listed.declared.get("name", ""))),
        reference=str(listed.declared.get("reference", "")),
        licence=str(listed.declared.get("licence", "")),
    )


def _read_list(place: Path) -> _List:
    if place.is_dir():
        files = [place / name for name in LIST_NAMES if (place / name).is_file()]
        if not files:
            raise OtherLayoutError(f"none of the files {', '.join(LIST_NAMES)}")
        place = files[0]
    match place.suffix.lower():
        case ".csv":
            listed = _read_csv(place)
        case ".json":
            listed = _read_json_list(place)
        case _:
            raise OtherLayoutError(f"{place.name} is neither a folder nor a .csv or .json list")
    if not listed.cases:
        raise DatasetError(f"{place}: the list holds no case.")
    return listed


def _read_csv(file: Path) -> _List:
    """A table with the columns id, one per channel, and label (which may be missing or empty)."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}).") from error
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)
    # The table's own reader takes off quotes, which other programs put around headings too.
    heading_row, *rows = list(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)) or [[]]
    columns = [column.strip() for column in heading_row]
    channels = tuple(column for column in columns if column not in ("id", "label"))
    if "id" not in columns or not channels:
        raise OtherLayoutError(f"{file.name} needs the columns id, one per channel, and label; found {', '.join(columns)}")
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise DatasetError(f"{file}: the column {twice!r} stands there twice. Give each channel its own name.")
    filled = [(number, row) for number, row in enumerate(rows, start=2) if row]
    cases = [_csv_case(row, columns, channels=channels, file=file, number=number) for number, row in filled]
    return _List(file, tuple(cases), channels)


def _csv_case(row: Sequence[str], columns: Sequence[str], *, channels: Sequence[str], file: Path, number: int) -> Case:
    where = f"{file}: line {number}"
    if len(row) > len(columns) and any(text.strip() for text in row[len(columns) :]):
        raise DatasetError(f"{where}: expected {len(columns)} columns, found {len(row)}. Put paths with commas in quotes.")
    cells = dict(zip(columns, row, strict=False))  # empty cells at the end may be left out
    images = [_text(cells.get(channel), f"{where}: {channel}") for channel in channels]
    return _case(_text(cells.get("id"), f"{where}: id"), images, cells.get("label"), file=file)


def _read_json_list(file: Path) -> _List:
    """{"channels": [...], "labels": {...}, "cases": [...]} or the bare list of cases."""
    content = read_json(file)
    if isinstance(content, list):
        content = {"cases": content}
    if not isinstance(content, dict) or not isinstance(content.get("cases"), list):
        raise OtherLayoutError(f"{file.name} is neither a list nor an object with the list 'cases'")
    channels = content.get("channels", [])
    if not isinstance(channels, list) or not all(isinstance(name, str) for name in channels):
        raise DatasetError(f"{file}: channels: expected a list of names, found {channels!r:.120}.")
    cases = []
    for index, entry in enumerate(content["cases"]):
        key = f"{file}: cases.{index}"
        if not isinstance(entry, Mapping):
            raise DatasetError(f"{key}: expected an object with id, images and label, found {entry!r:.120}.")
        images = entry.get("images", entry.get("image"))
        if isinstance(images, Mapping):
            channels = channels or list(images)
            images = [_text(images.get(name), f"{key}.images.{name}") for name in channels]
        images = images if isinstance(images, list) and images else [images]
        checked = [_text(image, f"{key}.images") for image in images]
        cases.append(_case(_text(entry.get("id"), f"{key}.id"), checked, entry.get("label"), file=file))
    return _List(file, tuple(cases), tuple(channels), declared=content)


def _text(value: object, where: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise DatasetError(f"{where}: expected text, found {value!r}.")
    return text


def _case(name: str, images: Sequence[str], label: str | None, *, file: Path) -> Case:
    # Ids become file names in the workspace and of predictions.
    if name in (".", "..") or any(letter in name for letter in '/\\:*?"<>|'):
        raise DatasetError(f"{file}: id {name!r} cannot be a file name. Use letters, digits, dashes and underscores.")
    root = file.parent
    known = label.strip() if isinstance(label, str) else ""
    return Case(
        id=name,
        images=tuple(relative(root / Path(image).expanduser(), root) for image in images),
        label=relative(root / Path(known).expanduser(), root) if known else None,
    )


def _numbered_channels(case: Case, root: Path) -> tuple[str, ...]:
    """Names for channels that the list does not name: as many as there are files, or as the only file holds."""
    paths = case.image_paths(root)
    count = len(paths) if len(paths) > 1 else read_header(paths[0]).channels
    return tuple(f"channel_{index}" for index in range(count)) if count > 1 else ("image",)


def _labels(listed: _List, template: Template | None) -> LabelScheme:
    if "labels" in listed.declared:
        return label_scheme(listed.declared, listed.file)
    if template is not None and template.labels:
        return LabelScheme(labels=template.labels)
    files = [path for case in listed.cases if (path := case.label_path(listed.file.parent)) is not None]
    if not files:
        raise DatasetError(f"{listed.file}: no case has a label map, and no labels are declared. Add the column label.")
    return scan_labels(files)
