"""Feature tables and forecasts as CSV: an id, then numbers; empty where something is not defined."""

from collections.abc import Mapping
from pathlib import Path

from autoseg.csv_table import read_csv, write_csv
from autoseg.errors import SurvivalError
from autoseg.survival.clinical import number_in

Rows = dict[str, dict[str, float | None]]
"""Features by case id."""

REMAKE = "Make it with: autoseg_survival features"


def write_features(rows: Mapping[str, Mapping[str, float | None]], path: Path) -> None:
    """Write features by case id, six significant digits."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    write_csv(
        path,
        ["id", *columns],
        [
            [id_, *("" if (value := row.get(name)) is None else f"{value:.6g}" for name in columns)]
            for id_, row in rows.items()
        ],
    )


def read_features(path: Path) -> Rows:
    """Features by case id, as `write_features` wrote them. Raises SurvivalError naming file, row and column."""
    columns, rows = read_csv(path, error=SurvivalError, advice=REMAKE)
    if "id" not in columns:
        raise SurvivalError(f"{path}: expected a column 'id', found {', '.join(columns)}. {REMAKE}")
    found: Rows = {}
    for number, row in enumerate(rows, start=2):
        if row["id"] in found:
            raise SurvivalError(f"{path}, row {number}: case {row['id']} stands there twice. Leave one row.")
        found[row["id"]] = {
            name: number_in(text, where=f"{path}, row {number}: {name}") for name, text in row.items() if name != "id"
        }
    return found
