"""The column of a table by which cases are summarised apart: site, grade, scanner."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from autoseg.csv_table import read_csv
from autoseg.errors import EvaluationError, listed, unknown_name


def parse_stratify(text: str) -> tuple[Path, str]:
    """The file and the column of `CSV:COLUMN`. Raises EvaluationError for any other form."""
    file, colon, column = text.rpartition(":")
    if not (colon and file and column):
        raise EvaluationError(f"--stratify {text!r}: expected FILE.csv:COLUMN, such as patients.csv:grade.")
    return Path(file), column


def read_strata(path: Path, column: str, *, cases: Sequence[str]) -> Mapping[str, str]:
    """The value of `column` for each of `cases`, from a CSV file with headings.

    The ids are looked for in all columns: the one that holds most of them counts. Rows of other cases are passed over.
    Raises EvaluationError for a file that cannot be read, a case without a row or a value, and a case with two values.
    """
    columns, rows = read_csv(path, error=EvaluationError, advice="Expected headings and a row per case.")
    if column not in columns:
        raise unknown_name(f"column (in {path})", column, columns)
    holders = {name: len({row[name] for row in rows} & set(cases)) for name in columns if name != column}
    ids = max(holders, key=lambda name: holders[name], default=None)
    if ids is None or holders[ids] == 0:
        raise EvaluationError(f"{path}: no column holds the names of the cases ({', '.join(cases[:3])}, ...).")
    found: dict[str, str] = {}
    for row in rows:
        if found.setdefault(row[ids], row[column]) != row[column]:
            raise EvaluationError(
                f"{path}: case {row[ids]} has two values of {column}: {found[row[ids]]} and {row[column]}."
            )
    without = [case for case in cases if not found.get(case)]
    if without:
        raise EvaluationError(
            f"{path}: no {column} for {len(without)} of {len(cases)} cases: {listed(without)}. Add their rows."
        )
    return {case: found[case] for case in cases}
