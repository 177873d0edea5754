"""Names of the same patient in different years of the BraTS challenge."""

from collections.abc import Iterable
from pathlib import Path

from autoseg.csv_table import read_csv
from autoseg.errors import SurvivalError, number_of

ID_COLUMN_ENDING = "subject_id"


class IdMapping:
    """Which ids are the same patient, from a table with one row per patient and one `..._subject_ID` column per year."""

    def __init__(self, rows: Iterable[Iterable[str]]) -> None:
        self._row_of: dict[str, int] = {}
        for index, ids in enumerate(rows):
            for id_ in ids:
                if id_ and id_.upper() != "NA":
                    self._row_of[id_] = index

    def same(self, id_: str, candidates: Iterable[str]) -> str | None:
        """The one of `candidates` that is the same patient as `id_`: equal, or in the same row; None for nobody."""
        candidates = list(candidates)
        if id_ in candidates:
            return id_
        row = self._row_of.get(id_)
        if row is None:
            return None
        return next((candidate for candidate in candidates if self._row_of.get(candidate) == row), None)


def read_mapping(path: Path) -> IdMapping:
    """The mapping in a CSV file as BraTS publishes it. Raises SurvivalError where no two columns of ids are found."""
    table = read_csv(path, error=SurvivalError, advice="Expected ids of each year in columns.")
    columns = [name for name in table.columns if name.lower().endswith(ID_COLUMN_ENDING)]
    if len(columns) < 2:
        raise SurvivalError(
            f"{path}: found {number_of(len(columns), 'column')} of ids; expected two or more whose names end in "
            "'_subject_ID', one per year of the challenge."
        )
    return IdMapping([row[name] for name in columns] for row in table.rows)
