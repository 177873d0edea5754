"""How good predicted survival is: the challenge's scores, and those of survival analysis."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from autoseg.artefacts import FROZEN

Array = NDArray[np.float64]

MONTH_DAYS = 30.0
SHORT_DAYS = 10 * MONTH_DAYS
LONG_DAYS = 15 * MONTH_DAYS
"""Short survivors live less than 10 months, long ones more than 15 (BraTS 2017 to 2020; a month counted as 30 days)."""

RESAMPLES = 500
CALIBRATION_DAY = 365
GROUPS = 4


@dataclass(frozen=True, eq=False)
class Outcome:
    """What happened to n patients: days to death (`died`) or to when they were last seen."""

    days: Array
    died: NDArray[np.bool_]


class Score(BaseModel):
    """A score with its bootstrap 95 % interval; None where it is not defined."""

    model_config = FROZEN
    value: float | None
    low: float | None = None
    high: float | None = None


class CalibrationPoint(BaseModel):
    """One of the groups of similar prediction: how many were expected to live beyond a year, and how many did."""

    model_config = FROZEN
    patients: int
    predicted: float
    observed: float | None


def survival_class(days: Array) -> NDArray[np.integer]:
    """0 for short, 1 for mid, 2 for long survivors."""
    return np.where(days < SHORT_DAYS, 0, np.where(days > LONG_DAYS, 2, 1))


def accuracy(predicted: Array, true: Array) -> float:
    """Share of patients put into the right one of the three classes."""
    return float((survival_class(predicted) == survival_class(true)).mean())


def squared_errors(predicted: Array, true: Array) -> Array:
    """In days squared."""
    return (predicted - true) ** 2


def spearman(predicted: Array, true: Array) -> float | None:
    """The rank correlation; None where either side is the same for all."""
    from scipy import stats

    if len(true) < 3 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return None
    return float(stats.spearmanr(predicted, true).statistic)


def concordance(expected: Array, *, days: Array, died: NDArray[np.bool_]) -> float | None:
    """Harrell's C-index of expected survival (longer is better); 0.5 is guessing, None where no pair can be compared.

    A pair counts when the one who died did so before the other died or was last seen; ties in `expected` count half.
    """
    from sksurv.exceptions import NoComparablePairException
    from sksurv.metrics import concordance_index_censored

    if not died.any():
        return None
    try:
        return float(concordance_index_censored(died, days, -expected)[0])
    except NoComparablePairException:
        return None


def integrated_brier(curves: Array, outcome: Outcome, *, times: NDArray[np.integer]) -> float | None:
    """The mean squared error of S(t) over `times` (days), weighted for censoring (Graf et al., 1999); 0.25 is guessing.

    `curves` (n, days) tells S of each day from 0 on. None where all were censored, or followed for a shorter time.
    """
    from sksurv.metrics import integrated_brier_score
    from sksurv.util import Surv

    inside = times[(times >= outcome.days.min()) & (times < outcome.days.max())]
    if not outcome.died.any() or len(inside) < 2:
        return None
    known = Surv.from_arrays(event=outcome.died, time=outcome.days)
    return float(integrated_brier_score(known, known, curves[:, inside], inside))


def brier_times(outcome: Outcome) -> NDArray[np.integer]:
    """Days between the 10th and the 90th percentile of follow-up, at most 50 of them."""
    low, high = np.percentile(outcome.days, (10, 90))
    return np.unique(np.linspace(low, high, 50).astype(np.int64))


def kaplan_meier(outcome: Outcome) -> tuple[Array, Array]:
    """Days and the share alive after each (Kaplan and Meier, 1958), from day 0 on."""
    from sksurv.nonparametric import kaplan_meier_estimator

    times, alive = kaplan_meier_estimator(outcome.died, outcome.days)
    return np.concatenate([[0.0], times]), np.concatenate([[1.0], alive])


def calibration(curves: Array, outcome: Outcome) -> tuple[CalibrationPoint, ...]:
    """Predicted and observed (Kaplan-Meier) share alive after a year, in quarters of predicted share."""
    day = min(CALIBRATION_DAY, curves.shape[1] - 1)
    predicted = curves[:, day]
    points = []
    for rows in np.array_split(np.argsort(predicted, kind="stable"), GROUPS):
        if len(rows) == 0:
            continue
        times, alive = kaplan_meier(Outcome(outcome.days[rows], outcome.died[rows]))
        followed = bool((outcome.days[rows] >= day).any() or outcome.died[rows].all())
        points.append(
            CalibrationPoint(
                patients=len(rows),
                predicted=float(predicted[rows].mean()),
                observed=float(alive[times <= day][-1]) if followed else None,
            )
        )
    return tuple(points)


def scores(days: Array, expected: Array, curves: Array, outcome: Outcome, *, seed: int) -> dict[str, Score]:
    """All scores of predicted median `days`, `expected` days and `curves` (n, days), bootstrapped over patients.

    The challenge's are over those who died, C-index and Brier score over all.
    """
    times = brier_times(outcome)

    def values(rows: NDArray[np.integer]) -> dict[str, float | None]:
        died = rows[outcome.died[rows]]
        errors = squared_errors(days[died], outcome.days[died])
        part = Outcome(outcome.days[rows], outcome.died[rows])
        return {
            "accuracy": accuracy(days[died], outcome.days[died]) if len(died) else None,
            "mse_days2": float(errors.mean()) if len(died) else None,
            "median_se_days2": float(np.median(errors)) if len(died) else None,
            "sd_se_days2": float(errors.std()) if len(died) else None,
            "spearman": spearman(days[died], outcome.days[died]),
            "c_index": concordance(expected[rows], days=part.days, died=part.died),
            "integrated_brier": integrated_brier(curves[rows], part, times=times),
        }

    return with_intervals(values, len(days), seed=seed)


def with_intervals(
    values: Callable[[NDArray[np.integer]], Mapping[str, float | None]], patients: int, *, seed: int
) -> dict[str, Score]:
    """Each value of all patients, with the 2.5th and 97.5th percentile over RESAMPLES draws with replacement."""
    rng = np.random.default_rng(seed)
    whole = values(np.arange(patients))
    drawn = [values(rng.integers(0, patients, patients)) for _ in range(RESAMPLES)]
    found = {}
    for name, value in whole.items():
        defined = [one for draw in drawn if (one := draw[name]) is not None]
        if value is None or len(defined) < RESAMPLES // 2:
            found[name] = Score(value=value)
        else:
            low, high = np.percentile(defined, (2.5, 97.5))
            found[name] = Score(value=value, low=float(low), high=float(high))
    return found


def log_rank(groups: NDArray[np.integer], outcome: Outcome) -> float | None:
    """The p-value that all groups survive alike (Mantel, 1966); None with fewer than two groups."""
    from sksurv.compare import compare_survival
    from sksurv.util import Surv

    if len(np.unique(groups)) < 2 or not outcome.died.any():
        return None
    _, p_value = compare_survival(Surv.from_arrays(event=outcome.died, time=outcome.days), groups)
    return float(p_value)
