"""CSV files with a header: read as text by column, written whole."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from autoseg.artefacts import written_whole
from autoseg.errors import AutosegError


class CsvTable(NamedTuple):
    """The columns of a table, and each row's text by column; blanks around both are gone, a missing cell is empty."""

    columns: tuple[str, ...]
    rows: list[dict[str, str]]


def read_csv(path: Path, *, error: type[AutosegError], advice: str) -> CsvTable:
    """The table in a file. Raises `error`, ending with `advice`, where it cannot be read or has no row.

    Cells beyond the last column and columns without a name are left out.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, restval="")
            rows = [{name.strip(): text.strip() for name, text in row.items() if name} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise error(f"{path}: cannot be read as a CSV table ({problem}). {advice}") from problem
    if not rows:
        raise error(f"{path}: holds no rows below a header. {advice}")
    return CsvTable(tuple(rows[0]), rows)


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table, whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    with written_whole(path) as file:
        file.write(text.getvalue().encode())
