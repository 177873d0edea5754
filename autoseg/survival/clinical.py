"""Clinical tables: who lived how long, and what is known of the patient beside the images.

The columns of the BraTS challenges 2017 to 2020 are recognised as they are; others are named by the user.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoseg.csv_table import read_csv
from autoseg.errors import SurvivalError

ID_COLUMNS = ("id", "case", "patient", "subject", "Brats17ID", "BraTS18ID", "BraTS19ID", "Brats20ID")
TIME_COLUMNS = ("Survival_days", "Survival", "days", "time")
EVENT_COLUMNS = ("event", "dead", "died")
GROUP_COLUMNS = ("patient_id", "group")
AGE_COLUMNS = ("Age", "age_years")
SEX_COLUMNS = ("Sex", "Gender")
RESECTION_COLUMNS = ("Extent_of_Resection", "ResectionStatus")
GRADE_COLUMNS = ("Grade", "WHO_grade")

UNKNOWN = {"", "na", "n/a", "nan", "none", "unknown", "?"}
OLDEST_YEARS = 120.0
CENSORED = re.compile(r"alive\s*\(\s*(\d+(?:\.\d+)?)\s*days?\s+later\s*\)", re.IGNORECASE)
"""What BraTS writes for a patient who was alive when the study ended."""

RESECTIONS = ("GTR", "STR")
"""Gross total and subtotal resection; everything else counts as not known (biopsy, or not told)."""


@dataclass(frozen=True)
class Patient:
    """A row of a clinical table.

    `days` from diagnosis to death (`event`) or to the last time the patient was known to be alive; None where nothing is
    known. `features` are numbers with their unit in the name, None where unknown. Rows of one `group` are one person.
    """

    id: str
    group: str
    days: float | None = None
    event: bool | None = None
    features: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Columns:
    """Names of columns where they are not among the usual ones; `more` are numbers to be taken as features."""

    id: str | None = None
    time: str | None = None
    event: str | None = None
    group: str | None = None
    more: tuple[str, ...] = ()


def read_clinical(path: Path, *, columns: Columns | None = None, need_survival: bool = False) -> list[Patient]:
    """The patients of a CSV table with a header, in order of the table.

    Survival may be a number (died after so many days) or `ALIVE (361 days later)` (censored); with a column for the event,
    1 or 0 there says which. Raises SurvivalError naming file, row and value for what cannot be right: no id, an id twice,
    an age outside 0 to 120 years, negative days.
    """
    columns = columns or Columns()
    header, rows = read_csv(path, error=SurvivalError, advice="Expected a header and a row per patient.")
    names = _Names(
        id=_column(path, header, columns.id, ID_COLUMNS, what="patient id", needed=True, option="--id-column"),
        time=_column(
            path, header, columns.time, TIME_COLUMNS, what="survival", needed=need_survival, option="--time-column"
        ),
        event=_column(path, header, columns.event, EVENT_COLUMNS, what="event", needed=False, option="--event-column"),
        group=_column(path, header, columns.group, GROUP_COLUMNS, what="group", needed=False, option="--group-column"),
    )
    for name in columns.more:
        _column(path, header, name, (), what="feature", needed=True, option="--column")
    patients = [
        _patient(row, where=f"{path}, row {i}", names=names, more=columns.more) for i, row in enumerate(rows, start=2)
    ]
    ids = [patient.id for patient in patients]
    twice = next((id_ for i, id_ in enumerate(ids) if id_ in ids[:i]), None)
    if twice is not None:
        raise SurvivalError(
            f"{path}: patient {twice} stands in two rows. Leave one, or name the id column with --id-column."
        )
    return patients


@dataclass(frozen=True)
class _Names:
    """The columns of one table: the id is always there."""

    id: str | None
    time: str | None
    event: str | None
    group: str | None


def _column(
    path: Path, header: Sequence[str], asked: str | None, usual: Sequence[str], *, what: str, needed: bool, option: str
) -> str | None:
    """The header of the wanted column, letters' case and blanks apart; None where it may be absent and is."""
    known = {name.lower(): name for name in header}
    for name in [asked] if asked is not None else usual:
        if name.strip().lower() in known:
            return known[name.strip().lower()]
    if asked is None and not needed:
        return None
    expected = repr(asked) if asked is not None else f"one of {', '.join(usual)}"
    raise SurvivalError(
        f"{path}: no column for the {what}: expected {expected}, found {', '.join(header)}. Name it with {option}."
    )


def _patient(row: Mapping[str, str], *, where: str, names: _Names, more: Iterable[str]) -> Patient:
    id_ = row[names.id or ""]
    if not id_:
        raise SurvivalError(f"{where}: the patient id is empty. Give each row one, or remove the row.")
    days, event = _survival(row, names, where=where)
    return Patient(
        id=id_,
        group=row[names.group] or id_ if names.group else id_,
        days=days,
        event=event,
        features=_known_features(row, where=where) | {name: _number(row, name, where=where) for name in more},
    )


def _survival(row: Mapping[str, str], names: _Names, *, where: str) -> tuple[float | None, bool | None]:
    text = row.get(names.time or "", "")
    if text.lower() in UNKNOWN:
        return None, None
    alive = CENSORED.fullmatch(text)
    try:
        days = float(alive.group(1) if alive else text)
    except ValueError:
        days = float("nan")
    if not days >= 0 or days == float("inf"):
        raise SurvivalError(
            f"{where}: {names.time} is {text!r}; expected days such as 361, or 'ALIVE (361 days later)', or NA."
        )
    event = row.get(names.event or "", "")
    if event.lower() in UNKNOWN:
        return days, alive is None
    if event.lower() not in {"0", "1", "0.0", "1.0", "true", "false", "yes", "no"}:
        raise SurvivalError(f"{where}: {names.event} is {event!r}; expected 1 (died) or 0 (alive when last seen).")
    return days, event.lower() in {"1", "1.0", "true", "yes"}


def _known_features(row: Mapping[str, str], *, where: str) -> dict[str, float | None]:
    """Age, sex, resection and grade as numbers, of those that the table has a column for."""
    found: dict[str, float | None] = {}
    lowered = {name.lower(): name for name in row}
    for columns, reader in (
        (AGE_COLUMNS, _age),
        (SEX_COLUMNS, _sex),
        (RESECTION_COLUMNS, _resection),
        (GRADE_COLUMNS, _grade),
    ):
        name = next((lowered[column.lower()] for column in columns if column.lower() in lowered), None)
        if name is not None:
            found |= reader(row, name, where=where)
    return found


def _age(row: Mapping[str, str], name: str, *, where: str) -> dict[str, float | None]:
    age = _number(row, name, where=where)
    if age is not None and not 0 <= age <= OLDEST_YEARS:
        raise SurvivalError(
            f"{where}: {name} is {row[name]}; expected years from 0 to {OLDEST_YEARS:.0f}. Correct it, or write NA."
        )
    return {"age_years": age}


def _sex(row: Mapping[str, str], name: str, *, where: str) -> dict[str, float | None]:
    text = row[name].lower()
    known = {"m": 1.0, "male": 1.0, "f": 0.0, "female": 0.0}
    if text not in known and text not in UNKNOWN:
        raise SurvivalError(f"{where}: {name} is {row[name]!r}; expected M, F or NA.")
    return {"sex_male": known.get(text)}


def _resection(row: Mapping[str, str], name: str, *, where: str) -> dict[str, float | None]:
    text = row[name].upper()
    if text not in RESECTIONS and text.lower() not in UNKNOWN:
        raise SurvivalError(f"{where}: {name} is {row[name]!r}; expected GTR (gross total), STR (subtotal) or NA.")
    return {f"resection_{kind.lower()}": float(text == kind) for kind in RESECTIONS}


def _grade(row: Mapping[str, str], name: str, *, where: str) -> dict[str, float | None]:
    known = {"HGG": 1.0, "LGG": 0.0, "IV": 1.0, "III": 1.0, "II": 0.0, "I": 0.0, "4": 1.0, "3": 1.0, "2": 0.0, "1": 0.0}
    text = row[name].upper()
    if text not in known and text.lower() not in UNKNOWN:
        raise SurvivalError(f"{where}: {name} is {row[name]!r}; expected HGG or LGG, a WHO grade from 1 to 4, or NA.")
    return {"grade_high": known.get(text)}


def _number(row: Mapping[str, str], name: str, *, where: str) -> float | None:
    return number_in(row[name], where=f"{where}: {name}")


def number_in(text: str, *, where: str) -> float | None:
    """The number in a cell, None where it is not known. Raises SurvivalError, beginning with `where`, for other text."""
    if text.lower() in UNKNOWN:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not math.isfinite(value):
        raise SurvivalError(f"{where} is {text!r}; expected a number, or NA or nothing where it is not known.")
    return value
