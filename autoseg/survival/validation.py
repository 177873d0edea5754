"""Nested cross-validation: settings are chosen inside each training part, scores come from patients never learned from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoseg.progress import SILENT, Progress
from autoseg.survival.cohort import Cohort
from autoseg.survival.models import FAMILIES, Family, Features, Fitted, survival_curves
from autoseg.survival.preparation import Preparation, fit_preparation
from autoseg.survival.scores import concordance

OUTER_FOLDS = 5
INNER_FOLDS = 5
VOLUMES = ("_volume_ml", "_share", "_ratio")
"""How the names of volumes and what is made of them end."""

AUTOMATIC = "automatic"
"""Called so: the family of best inner score, chosen anew in each training part, so that its score is honest too."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of n patients: S(t) for each day from 0 on (n, days), and from it median and mean days (n)."""

    curves: NDArray[np.float64]

    @property
    def days(self) -> NDArray[np.float64]:
        """The first day on which fewer than half are expected alive; the last day of the curve where none is."""
        below = self.curves <= 0.5
        first = np.where(below.any(axis=1), below.argmax(axis=1), self.curves.shape[1] - 1)
        return np.asarray(first, dtype=np.float64)

    @property
    def expected(self) -> NDArray[np.float64]:
        """Mean days up to the end of the curve: what patients are ranked by, as it has fewer ties than the median."""
        return np.asarray(self.curves.sum(axis=1))


@dataclass(frozen=True)
class Choice:
    """Settings that the inner cross-validation chose and the C-index they had there."""

    family: str
    settings: Mapping[str, float]
    features: Features
    score: float
    error: float


@dataclass(frozen=True)
class Trained:
    """A fitted model with its preparation and how its settings were found."""

    preparation: Preparation
    model: Fitted
    choice: Choice


def horizon(cohort: Cohort) -> int:
    """The last day that curves tell of: the longest follow-up."""
    return int(np.ceil(cohort.days.max()))


def answers(trained: Trained, features: NDArray[np.float64], columns: tuple[str, ...], *, last_day: int) -> Answers:
    """The answers for features (n, `columns`, NaN where unknown)."""
    prepared = trained.preparation.apply(features, columns)
    return Answers(survival_curves(trained.model, prepared, np.arange(last_day + 1, dtype=np.float64)))


def usable_families(cohort: Cohort, names: Sequence[str]) -> list[str]:
    """Those families whose columns the cohort has."""
    return [name for name in names if set(FAMILIES[name].only) <= set(cohort.columns)]


def train_family(cohort: Cohort, name: str, *, seed: int) -> Trained:
    """The family fitted to the cohort, with settings chosen by cross-validation inside it."""
    choice = _choose(cohort, name, seed=seed)
    return _fit(cohort, choice, seed=seed)


def cross_validate(cohort: Cohort, names: Sequence[str], *, seed: int, progress: Progress = SILENT) -> dict[str, Answers]:
    """Out-of-fold answers of each family, and of the automatic choice among those that are no baseline."""
    last_day = horizon(cohort)
    curves = {name: np.empty((len(cohort), last_day + 1)) for name in (*names, AUTOMATIC)}
    parts = list(grouped_folds(cohort.groups, folds=OUTER_FOLDS, seed=seed))
    for inside, outside in progress.track(parts, description="cross-validation", total=len(parts)):
        training, held_out = cohort.taken(inside), cohort.taken(outside)
        trained = {name: train_family(training, name, seed=seed) for name in names}
        for name, found in trained.items():
            curves[name][outside] = answers(found, held_out.features, held_out.columns, last_day=last_day).curves
        best = best_family({name: found.choice for name, found in trained.items()})
        curves[AUTOMATIC][outside] = curves[best][outside]
    return {name: Answers(found) for name, found in curves.items()}


def best_family(choices: Mapping[str, Choice]) -> str:
    """The family of best inner score that is no baseline; a baseline where nothing else was tried."""
    contenders = [name for name in choices if not FAMILIES[name].is_baseline] or list(choices)
    return max(contenders, key=lambda name: choices[name].score)


def grouped_folds(
    groups: Sequence[str], *, folds: int, seed: int
) -> Iterator[tuple[NDArray[np.integer], NDArray[np.integer]]]:
    """Rows inside and outside of each fold; rows of one group stay together."""
    names = sorted(set(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[position]: index % folds for index, position in enumerate(order)}
    assigned = np.array([fold_of[group] for group in groups])
    for fold in range(folds):
        yield np.flatnonzero(assigned != fold), np.flatnonzero(assigned == fold)


def _choose(cohort: Cohort, name: str, *, seed: int) -> Choice:
    """The simplest option whose inner score is within one standard error of the best (Breiman et al., 1984)."""
    family = FAMILIES[name]
    options: dict[tuple[tuple[str, ...], int | None], Features] = {}
    for features in family.features:
        columns = _columns(cohort, features, only=family.only)
        most = features.most if features.most is not None and features.most < len(columns) else None
        if columns:
            options.setdefault((columns, most), features)
    scored = [
        _scored(cohort, name, settings, features, seed=seed)
        for features in options.values()
        for settings in family.settings
    ]
    # The error of a single option is told by few folds: their mean is steadier.
    error = float(np.mean([choice.error for choice in scored]))
    best = max(choice.score for choice in scored)
    return next(choice for choice in scored if choice.score >= best - error)


def _columns(cohort: Cohort, features: Features, *, only: Sequence[str]) -> tuple[str, ...]:
    if only:
        return tuple(only)
    allowed = {"clinical": (), "volumes": VOLUMES, "all": ("",)}[features.of]
    return tuple(name for name in cohort.columns if name in cohort.clinical or (allowed and name.endswith(allowed)))


def _scored(cohort: Cohort, name: str, settings: Mapping[str, float], features: Features, *, seed: int) -> Choice:
    """The option with the mean C-index over the inner folds and its standard error.

    A fold without a pair to compare counts as a guess, 0.5.
    """
    option = Choice(name, settings, features, score=0.5, error=0.0)
    found = []
    for inside, outside in grouped_folds(cohort.groups, folds=INNER_FOLDS, seed=seed + 1):
        held_out = cohort.taken(outside)
        trained = _fit(cohort.taken(inside), option, seed=seed)
        answer = answers(trained, held_out.features, held_out.columns, last_day=horizon(cohort))
        score = concordance(answer.expected, days=held_out.days, died=held_out.died)
        found.append(0.5 if score is None else score)
    return replace(option, score=float(np.mean(found)), error=float(np.std(found, ddof=1) / np.sqrt(len(found))))


def _fit(cohort: Cohort, choice: Choice, *, seed: int) -> Trained:
    family: Family = FAMILIES[choice.family]
    known = cohort.knowing(_columns(cohort, choice.features, only=family.only))
    preparation = fit_preparation(known, most=choice.features.most)
    prepared = preparation.apply(known.features, known.columns)
    return Trained(preparation, family.fit(prepared, cohort.days, cohort.died, seed=seed, **choice.settings), choice)
