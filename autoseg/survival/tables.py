"""Feature tables and forecasts as CSV: an id, then numbers; empty where something is not defined."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from autoseg.artefacts import written_whole
from autoseg.errors import SurvivalError
from autoseg.survival.clinical import UNKNOWN

Rows = dict[str, dict[str, float | None]]
"""Features by case id."""


def write_features(rows: Mapping[str, Mapping[str, float | None]], path: Path) -> None:
    """Write features by case id, six significant digits."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    write_table(
        path,
        ["id", *columns],
        [
            [id_, *("" if (value := row.get(name)) is None else f"{value:.6g}" for name in columns)]
            for id_, row in rows.items()
        ],
    )


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a CSV file, whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    with written_whole(path) as file:
        file.write(text.getvalue().encode())


def read_features(path: Path) -> Rows:
    """Features by case id, as `write_features` wrote them. Raises SurvivalError naming file, row and column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SurvivalError(
            f"{path}: cannot be read as a CSV table ({error}). Make it with: autoseg_survival features"
        ) from error
    if not rows or "id" not in (reader.fieldnames or []):
        raise SurvivalError(f"{path}: expected a column 'id' and a row per case. Make it with: autoseg_survival features")
    found: Rows = {}
    for number, row in enumerate(rows, start=2):
        if row["id"] in found:
            raise SurvivalError(f"{path}, row {number}: case {row['id']} stands there twice. Leave one row.")
        found[row["id"]] = {
            name: _value(text, f"{path}, row {number}: {name}") for name, text in row.items() if name not in {"id", None}
        }
    return found


def _value(text: str | None, where: str) -> float | None:
    if text is None or text.strip().lower() in UNKNOWN:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not math.isfinite(value):
        raise SurvivalError(f"{where} is {text!r}; expected a number, or nothing where it is not defined.")
    return value
