"""From features as measured to numbers a model can use: chosen, imputed, scaled. Everything is learned from one fold."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.survival.cohort import Cohort

LEAST_KNOWN = 0.5
"""Share of patients in whom a feature must be known to be used."""

SPANS_DECADES = ("_volume_ml", "_surface_mm2")


class Preparation(BaseModel):
    """Which columns a model uses, what stands for an unknown value (the median), and how each is scaled.

    Volumes and surfaces are taken as log(1 + value): they span decades. `means` and `deviations` are of what is then there.
    """

    model_config = FROZEN
    columns: tuple[str, ...]
    medians: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def apply(self, features: NDArray[np.float64], columns: tuple[str, ...]) -> NDArray[np.float64]:
        """Scaled features (n, columns of the model) of features (n, `columns`, NaN where unknown)."""
        taken = features[:, [columns.index(name) for name in self.columns]]
        filled = np.where(np.isnan(taken), np.array(self.medians), taken)
        return np.asarray((_levelled(filled, self.columns) - np.array(self.means)) / np.array(self.deviations))


def fit_preparation(cohort: Cohort, *, most: int | None) -> Preparation:
    """The preparation that `cohort` suggests: the `most` columns that together explain most of the order of days.

    None takes all. Columns that are the same for all, or known for fewer than half, are never taken.
    """
    known = ~np.isnan(cohort.features)
    usable = [index for index in range(len(cohort.columns)) if known[:, index].mean() >= LEAST_KNOWN]
    medians = {index: float(np.median(cohort.features[known[:, index], index])) for index in usable}
    filled = {index: np.where(known[:, index], cohort.features[:, index], medians[index]) for index in usable}
    usable = [index for index in usable if np.ptp(filled[index]) > 0]
    if most is not None and len(usable) > most:
        usable = _strongest(filled, cohort, most=most)
    columns = tuple(cohort.columns[index] for index in usable)
    levelled = _levelled(np.column_stack([filled[index] for index in usable]), columns) if usable else np.empty((1, 0))
    return Preparation(
        columns=columns,
        medians=tuple(medians[index] for index in usable),
        means=tuple(float(value) for value in levelled.mean(axis=0)),
        deviations=tuple(float(value) for value in levelled.std(axis=0)),
    )


def _levelled(values: NDArray[np.float64], columns: Sequence[str]) -> NDArray[np.float64]:
    """The values (n, columns) with the logarithm of those that span decades."""
    spans = np.array([name.endswith(SPANS_DECADES) for name in columns], dtype=bool)
    return np.where(spans, np.log1p(np.where(spans, np.maximum(values, 0), 0)), values)


def _strongest(filled: dict[int, NDArray[np.float64]], cohort: Cohort, *, most: int) -> list[int]:
    """The columns that, one after another, explain most of what the ones before left of the ranks of days.

    Orthogonal matching pursuit (Pati et al., 1993) on ranks of those who died: a second measure of the same thing adds
    nothing and is not taken.
    """
    from scipy.stats import rankdata

    names = list(filled)
    ranks = rankdata(np.column_stack([filled[name][cohort.died] for name in names]), axis=0)
    left = _unit(ranks - ranks.mean(axis=0))
    days = rankdata(cohort.days[cohort.died])
    target = days - days.mean()
    taken: list[int] = []
    for _ in range(most):
        strength = np.abs(target @ left)
        best = int(strength.argmax())
        if strength[best] <= 0:
            break
        taken.append(names[best])
        direction = left[:, best].copy()
        target = target - (target @ direction) * direction
        left = _unit(left - np.outer(direction, direction @ left))
    return sorted(taken)


def _unit(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of length 1; those that are nothing but rounding become 0."""
    lengths = np.linalg.norm(columns, axis=0)
    return np.where(lengths > 1e-6, columns / np.maximum(lengths, 1e-6), 0.0)
