"""Training a survival model and judging it, from a cohort to the artefact."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from autoseg.errors import SurvivalError, unknown_name
from autoseg.progress import SILENT, Progress
from autoseg.survival.cohort import Cohort, LeftOut
from autoseg.survival.model import INTERVAL, RISK_GROUPS, AgainstAge, FamilyScores, SurvivalModel, Validation, risk_group
from autoseg.survival.models import FAMILIES
from autoseg.survival.scores import Outcome, Score, calibration, concordance, log_rank, scores, spearman, with_intervals
from autoseg.survival.validation import (
    AUTOMATIC,
    INNER_FOLDS,
    OUTER_FOLDS,
    Answers,
    Trained,
    best_family,
    cross_validate,
    horizon,
    train_family,
    usable_families,
)

AGE = "age_only"


def train_model(
    cohort: Cohort,
    left_out: LeftOut,
    *,
    families: Sequence[str] = (),
    seed: int = 0,
    made_from: Mapping[str, str],
    progress: Progress = SILENT,
) -> tuple[SurvivalModel, dict[str, Answers]]:
    """The model of the best family, and the out-of-fold answers of all that were tried.

    `families` (all by default) are names in FAMILIES; the baselines are always judged beside them. Raises
    UnknownNameError for a name that is none, and SurvivalError when no family can be used.
    """
    for name in families:
        if name not in FAMILIES:
            raise unknown_name("survival model", name, FAMILIES)
    names = usable_families(cohort, _with_baselines(families))
    if not cohort.columns or names == ["mean"]:
        raise SurvivalError("there is no feature to learn from. Give clinical columns (Age, ...) or --features CSV.")
    found = cross_validate(cohort, names, seed=seed, progress=progress)
    trained = {name: train_family(cohort, name, seed=seed) for name in names}
    best = best_family({name: one.choice for name, one in trained.items()})
    model = SurvivalModel(
        autoseg_version=version("autoseg"),
        family=best,
        columns=cohort.columns,
        preparation=trained[best].preparation,
        fitted=trained[best].model,
        last_day=horizon(cohort),
        residuals=_residuals(found[AUTOMATIC].days, cohort),
        group_days=_group_days(found[AUTOMATIC].days),
        validation=_judged(cohort, left_out, trained, found, seed=seed),
        made_from=dict(made_from),
    )
    return model, found


def _with_baselines(families: Sequence[str]) -> list[str]:
    chosen = list(families) or list(FAMILIES)
    return list(dict.fromkeys([*chosen, *(name for name, family in FAMILIES.items() if family.is_baseline)]))


def risk_groups(days: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.integer]:
    """The index in RISK_GROUPS of each patient (n)."""
    return np.array([RISK_GROUPS.index(risk_group(float(value), limits)) for value in days])


def _residuals(days: NDArray[np.float64], cohort: Cohort) -> tuple[float, float]:
    """The quantiles of log(true / predicted) that leave INTERVAL between them, over those who died."""
    errors = np.log(np.maximum(cohort.days[cohort.died], 1.0) / np.maximum(days[cohort.died], 1.0))
    low, high = np.quantile(errors, ((1 - INTERVAL) / 2, (1 + INTERVAL) / 2))
    return float(low), float(high)


def _group_days(days: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(days, (1 / 3, 2 / 3))
    return float(low), float(high)


def _judged(
    cohort: Cohort, left_out: LeftOut, trained: Mapping[str, Trained], found: Mapping[str, Answers], *, seed: int
) -> Validation:
    outcome = Outcome(cohort.days, cohort.died)
    judged = {name: scores(one.days, one.expected, one.curves, outcome, seed=seed) for name, one in found.items()}
    automatic = found[AUTOMATIC]
    groups = risk_groups(automatic.days, _group_days(automatic.days))
    return Validation(
        patients=len(cohort),
        died=int(cohort.died.sum()),
        groups=len(set(cohort.groups)),
        outer_folds=OUTER_FOLDS,
        inner_folds=INNER_FOLDS,
        seed=seed,
        without_survival=left_out.without_survival,
        without_features=left_out.without_features,
        families=tuple(
            FamilyScores(
                family=name,
                title=FAMILIES[name].title,
                is_baseline=FAMILIES[name].is_baseline,
                settings={key: float(value) for key, value in one.choice.settings.items()},
                features=one.choice.features.of,
                scores=judged[name],
            )
            for name, one in trained.items()
        ),
        automatic=judged[AUTOMATIC],
        against_age=_against_age(automatic, found[AGE], outcome, seed=seed) if AGE in found else None,
        calibration=calibration(automatic.curves, outcome),
        log_rank_p=log_rank(groups, outcome),
    )


def _against_age(model: Answers, age: Answers, outcome: Outcome, *, seed: int) -> AgainstAge:
    def differences(rows: NDArray[np.integer]) -> dict[str, float | None]:
        died = rows[outcome.died[rows]]
        pairs = {
            "c_index": [
                concordance(one.expected[rows], days=outcome.days[rows], died=outcome.died[rows]) for one in (model, age)
            ],
            "spearman": [spearman(one.days[died], outcome.days[died]) for one in (model, age)],
        }
        return {name: None if a is None or b is None else a - b for name, (a, b) in pairs.items()}

    found = with_intervals(differences, len(outcome.days), seed=seed)
    return AgainstAge(c_index=found["c_index"], spearman=found["spearman"], verdict=_verdict(found["c_index"]))


def _verdict(difference: Score) -> str:
    if difference.low is not None and difference.low > 0:
        return "better than age alone: the interval of the difference in C-index lies above 0"
    if difference.high is not None and difference.high < 0:
        return "worse than age alone: the interval of the difference in C-index lies below 0. Use the age."
    return "not shown to be better than age alone: the interval of the difference in C-index holds 0"
