"""Patients with features and survival, as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoseg.errors import SurvivalError, number_of
from autoseg.survival.clinical import Patient
from autoseg.survival.mapping import IdMapping

FEWEST = 20
"""Patients below which cross-validation inside cross-validation has nothing left to learn from."""
FEWEST_DEATHS = 10


@dataclass(frozen=True, eq=False)
class Cohort:
    """n patients: features (n, columns; NaN where unknown), days (n) and whether each died then or was last seen (n).

    `clinical` names those columns that come from the clinical table.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    columns: tuple[str, ...]
    clinical: frozenset[str]
    features: NDArray[np.float64]
    days: NDArray[np.float64]
    died: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    def taken(self, rows: NDArray[np.integer]) -> "Cohort":
        """The cohort of those rows."""
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
            features=self.features[rows],
            days=self.days[rows],
            died=self.died[rows],
        )

    def knowing(self, columns: Sequence[str]) -> "Cohort":
        """The same patients with those columns alone."""
        indices = [self.columns.index(name) for name in columns]
        return replace(self, columns=tuple(columns), features=self.features[:, indices])


@dataclass(frozen=True)
class LeftOut:
    """Patients that cannot be learned from, and why."""

    without_survival: tuple[str, ...]
    without_features: tuple[str, ...]


def make_cohort(
    patients: Sequence[Patient],
    imaging: Mapping[str, Mapping[str, float | None]] | None = None,
    *,
    mapping: IdMapping | None = None,
) -> tuple[Cohort, LeftOut]:
    """The patients whose survival is known, with clinical features and, where given, `imaging` features by case id.

    Raises SurvivalError where too few remain, naming what each lacked.
    """
    known = [patient for patient in patients if patient.days is not None]
    case_of = {patient.id: matching(patient.id, imaging or {}, mapping) for patient in known}
    used = [patient for patient in known if imaging is None or case_of[patient.id] is not None]
    left_out = LeftOut(
        without_survival=tuple(patient.id for patient in patients if patient.days is None),
        without_features=tuple(patient.id for patient in known if patient not in used),
    )
    rows = [dict(patient.features) | dict((imaging or {}).get(case_of[patient.id] or "", {})) for patient in used]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    cohort = Cohort(
        ids=tuple(patient.id for patient in used),
        groups=tuple(patient.group for patient in used),
        columns=columns,
        clinical=frozenset(name for patient in used for name in patient.features),
        features=as_array(rows, columns),
        days=np.array([patient.days for patient in used], dtype=np.float64),
        died=np.array([bool(patient.event) for patient in used], dtype=bool),
    )
    _refuse_small(cohort, left_out)
    return cohort, left_out


def as_array(rows: Sequence[Mapping[str, float | None]], columns: Sequence[str]) -> NDArray[np.float64]:
    """Features (row, column), NaN where a row does not know one."""
    values = [[np.nan if (value := row.get(name)) is None else value for name in columns] for row in rows]
    return np.array(values, dtype=np.float64).reshape(len(rows), len(columns))


def matching(id_: str, candidates: Mapping[str, object], mapping: IdMapping | None) -> str | None:
    """The key of `candidates` that is the same patient; None for nobody."""
    if id_ in candidates:
        return id_
    return None if mapping is None else mapping.same(id_, candidates)


def _refuse_small(cohort: Cohort, left_out: LeftOut) -> None:
    deaths = int(cohort.died.sum())
    if len(cohort) >= FEWEST and deaths >= FEWEST_DEATHS:
        return
    raise SurvivalError(
        f"{number_of(len(cohort), 'patient')} with features and survival ({deaths} died): too few; expected at least "
        f"{FEWEST}, of whom {FEWEST_DEATHS} died. Without survival: {len(left_out.without_survival)}; without features: "
        f"{len(left_out.without_features)}{_first(left_out.without_features)}. Ids of other years are joined by --mapping."
    )


def _first(ids: tuple[str, ...]) -> str:
    return f" ({', '.join(ids[:3])}{' ...' if len(ids) > 3 else ''})" if ids else ""
