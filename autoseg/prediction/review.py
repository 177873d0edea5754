"""Which cases a person should look at: how sure each structure is, the order of the cases, and the reasons."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from autoseg.csv_table import write_csv
from autoseg.prediction.report import CasePrediction, Uncertainty

LOW_DICE = 0.7
"""A structure that is expected to reach less is looked at, however the other cases do.

Above it two segmentations are commonly called in good agreement. Source: Zijdenbos et al., IEEE TMI 13 (1994).
"""
FEWEST_CASES = 10
"""With fewer cases nothing is said of one case compared with the others."""
FAR = 3.0
"""A case lies far below the others when it is so many deviations below their median (deviation: 1.4826 times the MAD)."""
NOTABLE = 0.01
"""Deviations of expected Dice below this are taken for this: among cases that are all alike, nothing is far."""

Reasons = dict[str, tuple[str, ...]]
"""Why a structure should be looked at; empty if nothing speaks for it."""


def case_score(case: CasePrediction) -> float | None:
    """The mean expected Dice of a case over the structures that are there; None where nothing is."""
    values = [one.expected_dice for one in (case.uncertainty or {}).values() if one.expected_dice is not None]
    return statistics.fmean(values) if values else None


def ranks(cases: Sequence[CasePrediction]) -> dict[str, int]:
    """The place of each case that has a score: 1 is the least sure; equal scores share the better place."""
    scores = {case.id: score for case in cases if (score := case_score(case)) is not None}
    return {id_: 1 + sum(other < score for other in scores.values()) for id_, score in scores.items()}


def reasons(cases: Sequence[CasePrediction]) -> dict[str, Reasons]:
    """For each case and structure, why somebody should look at it.

    A structure is expected to have a Dice below LOW_DICE; or one that lies FAR below those of the other cases, of which
    there are FEWEST_CASES at least; or only some of the members find it.
    """
    found: dict[str, Reasons] = {case.id: {} for case in cases if case.uncertainty is not None}
    for name in dict.fromkeys(name for case in cases for name in case.uncertainty or {}):
        rows = {case.id: case.uncertainty[name] for case in cases if case.uncertainty is not None}
        bound = _far_below([row.expected_dice for row in rows.values() if row.expected_dice is not None])
        for id_, row in rows.items():
            found[id_][name] = tuple(_reasons(row, bound))
    return found


def _reasons(row: Uncertainty, bound: tuple[float, float] | None) -> list[str]:
    found = []
    dice = row.expected_dice
    if dice is not None and dice < LOW_DICE:
        found.append(f"expected Dice {dice:.2f} is below {LOW_DICE:g}")
    elif dice is not None and bound is not None and dice < bound[0]:
        found.append(f"expected Dice {dice:.2f} is far below that of the other cases (median {bound[1]:.2f})")
    if 0 < row.found_by < row.members:
        found.append(f"found by {row.found_by} of {row.members} members")
    return found


def _far_below(values: Sequence[float]) -> tuple[float, float] | None:
    """What lies far below the others, and their median; None where there are too few."""
    if len(values) < FEWEST_CASES:
        return None
    median = statistics.median(values)
    deviation = max(NOTABLE, 1.4826 * statistics.median(abs(value - median) for value in values))
    return median - FAR * deviation, median


def review_of(cases: Sequence[CasePrediction]) -> dict[str, tuple[str, ...]]:
    """The cases to look at, the least sure first, each with its reasons."""
    place = ranks(cases)
    told = {
        id_: tuple(f"{name}: {reason}" for name, several in found.items() for reason in several)
        for id_, found in reasons(cases).items()
    }
    order = sorted(told, key=lambda id_: (place.get(id_, 0), id_))
    return {id_: told[id_] for id_ in order if told[id_]}


COLUMNS = ("case", "structure", *Uncertainty.model_fields, "rank", "review", "reason")


def write_table(cases: Sequence[CasePrediction], path: Path) -> None:
    """A line for each case and structure; `rank` is the place of the case, `review` yes or no. Undefined: empty."""
    place, why = ranks(cases), reasons(cases)
    rows = []
    for case in cases:
        for name, row in (case.uncertainty or {}).items():
            told = why[case.id][name]
            numbers = ["" if value is None else value for value in row.model_dump().values()]
            rows.append([case.id, name, *numbers, place.get(case.id, ""), "yes" if told else "no", "; ".join(told)])
    write_csv(path, COLUMNS, rows)
