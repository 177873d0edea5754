"""Putting candidates in order by their out-of-fold evaluations."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autoseg.evaluation.evaluate import Evaluation

Criterion = Literal["dice", "brats"]

NOISE = 0.05
"""A difference whose p value is above this is called noise."""
FEWEST_CASES = 6
"""With fewer cases the p value of a signed-rank test, at least 2 / 2 ** cases, cannot get below NOISE."""


def case_dice(evaluation: Evaluation) -> NDArray[np.float64]:
    """The mean Dice over defined structures of each case (n); NaN where none is."""
    return np.array([np.nan if case.mean_dice is None else case.mean_dice for case in evaluation.cases])


def mean_ranks(evaluations: Sequence[Evaluation]) -> list[float]:
    """The mean place of each evaluation over cases, structures, Dice and HD95, as BraTS ranks its teams.

    A structure that is missed (no distance, Dice 0) shares the last place; one that is on neither side counts for nobody.
    Ties share the mean place. Source: Bakas et al., arXiv 1811.02629.
    """
    from scipy.stats import rankdata

    places = []
    cases = [[case.structures for case in evaluation.cases] for evaluation in evaluations]
    for rows in zip(*cases, strict=True):
        for name in rows[0]:
            dice = [row[name].metrics["dice"] for row in rows]
            if all(value is None for value in dice):
                continue
            distance = [row[name].metrics["hd95_mm"] for row in rows]
            places.append(rankdata([-1.0 if value is None else -value for value in dice]))
            places.append(rankdata([np.inf if value is None else value for value in distance]))
    return [float(value) for value in np.mean(places, axis=0)] if places else [1.0] * len(evaluations)


def best(evaluations: Sequence[Evaluation], criterion: Criterion) -> int:
    """The index of the best evaluation; of equals the first, which is the simplest."""
    if criterion == "brats":
        return int(np.argmin(mean_ranks(evaluations)))
    means = [evaluation.over_structures["dice"].mean for evaluation in evaluations]
    return int(np.argmax([-1.0 if value is None else value for value in means]))


def within_noise(p: float | None, *, cases: int) -> bool | None:
    """Whether a difference over so many cases with this p value is noise; None where there are too few to tell."""
    return None if p is None or cases < FEWEST_CASES else p > NOISE


def paired_difference(first: Evaluation, second: Evaluation) -> tuple[float | None, float | None]:
    """The mean over cases of the first's Dice minus the second's, and the p value of Wilcoxon's signed-rank test.

    None, None without a case in which both are defined; p is 1 where no case differs.
    """
    from scipy.stats import wilcoxon

    gaps = case_dice(first) - case_dice(second)
    gaps = gaps[~np.isnan(gaps)]
    if len(gaps) == 0:
        return None, None
    if not gaps.any():
        return 0.0, 1.0
    return float(gaps.mean()), float(wilcoxon(gaps).pvalue)
