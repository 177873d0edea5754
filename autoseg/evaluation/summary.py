"""From the scores of many cases to means with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.evaluation.scores import Scores

RESAMPLES = 2000
SEED = 0
"""Intervals are the same each time the same scores are summarised."""


class Summary(BaseModel):
    """A metric over many values: only `counted` ones were defined and enter the mean.

    `mean` and `median` are None when nothing was counted; `sd` (n - 1 in the denominator), `low` and `high` when less than
    two were. `low` to `high` is the 95 % interval of the mean: percentiles of the means of 2000 bootstrap samples of the
    cases (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
    """

    model_config = FROZEN
    mean: float | None
    sd: float | None
    median: float | None
    low: float | None
    high: float | None
    counted: int
    undefined: int


Metrics = dict[str, Summary]
"""Summaries by the metric's name."""

Table = NDArray[np.float64]
"""Values (case, column), NaN where undefined."""


def summarise(cases: Sequence[Mapping[str, Scores]]) -> tuple[dict[str, Metrics], Metrics]:
    """Each structure's metrics over `cases`, and the means over structures summarised.

    `cases` are the `regions` or the `labels` of each case. In the second, `mean` is the mean of the structures' means,
    `undefined` the number of structures without one, and the interval that of the same cases drawn for all structures.
    """
    names = list(cases[0]) if cases else []
    metrics = list(cases[0][names[0]].metrics) if names else []
    if not names:
        return {}, {}
    columns = [[case[name].metrics[metric] for name in names for metric in metrics] for case in cases]
    values = np.array(columns, dtype=np.float64)
    resampled = resampled_means(values).reshape(-1, len(names), len(metrics))
    structures = {
        name: {metric: _summary(values[:, i * len(metrics) + j], resampled[:, i, j]) for j, metric in enumerate(metrics)}
        for i, name in enumerate(names)
    }
    together = _mean(resampled, axis=1)
    return structures, {
        metric: _summary(_column([structures[name][metric].mean for name in names]), together[:, j], cases=len(cases))
        for j, metric in enumerate(metrics)
    }


def summary(values: Sequence[float | None]) -> Summary:
    """Mean, interval, deviation and median of the values that are not None, and how many there are of each sort."""
    column = _column(values)
    return _summary(column, resampled_means(column[:, None])[:, 0])


def resampled_means(values: Table) -> Table:
    """The means (resample, column) of what is defined, in bootstrap samples of the cases; NaN where nothing is.

    All columns see the same samples. Costs memory for a few hundred samples at a time.
    """
    count = len(values)
    if count == 0:
        return np.full((0, values.shape[1]), np.nan)
    generator = np.random.default_rng(SEED)
    is_defined = ~np.isnan(values)
    filled, ones = np.where(is_defined, values, 0.0), is_defined.astype(np.float64)
    means = []
    for _ in range(0, RESAMPLES, 200):
        weights = generator.multinomial(count, np.full(count, 1 / count), size=200).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append((weights @ filled) / (weights @ ones))
    return np.concatenate(means)


def interval(resampled: Table) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of what is defined in one column of `resampled_means`."""
    low, high = np.percentile(resampled[~np.isnan(resampled)], (2.5, 97.5))
    return float(low), float(high)


def _summary(column: Table, resampled: Table, *, cases: int | None = None) -> Summary:
    counted = column[~np.isnan(column)]
    # An interval says how much other cases would change the mean: one case cannot tell.
    can_tell = (counted.size if cases is None else min(cases, counted.size * cases)) > 1
    low, high = interval(resampled) if can_tell else (None, None)
    return Summary(
        mean=float(counted.mean()) if counted.size else None,
        sd=float(counted.std(ddof=1)) if counted.size > 1 else None,
        median=float(np.median(counted)) if counted.size else None,
        low=low,
        high=high,
        counted=counted.size,
        undefined=column.size - counted.size,
    )


def _column(values: Sequence[float | None]) -> Table:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _mean(values: Table, *, axis: int) -> Table:
    is_defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Table = np.where(is_defined, values, 0.0).sum(axis=axis) / is_defined.sum(axis=axis)
    return mean
