"""Families of survival models: how each is fitted, and what is kept of it as plain numbers.

Every model answers with a survival curve: S(t), the probability to live longer than t days.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN
from autoseg.survival.trees import Tree, forest_answer, plain_tree

Array = NDArray[np.float64]

CURVE_POINTS = 60
"""Times at which a forest's curves are kept: quantiles of the days of death."""
LEAST_DEVIATION = 0.05
"""Of log days: below this a curve would claim to know the day."""


class KaplanMeierModel(BaseModel):
    """The same curve for everybody, a step function falling at `times` (days) to `survival`; knows no feature."""

    model_config = FROZEN
    kind: Literal["kaplan_meier"] = "kaplan_meier"
    times: tuple[float, ...]
    survival: tuple[float, ...]


class CoxModel(BaseModel):
    """S(t) = exp(-H(t) exp(x . coefficients)); H steps at `times` (days) to `cumulative_hazard`."""

    model_config = FROZEN
    kind: Literal["cox"] = "cox"
    coefficients: tuple[float, ...]
    times: tuple[float, ...]
    cumulative_hazard: tuple[float, ...]


class SurvivalForestModel(BaseModel):
    """The mean of the trees' curves, each a step function at `times` (days)."""

    model_config = FROZEN
    kind: Literal["survival_forest"] = "survival_forest"
    times: tuple[float, ...]
    trees: tuple[Tree, ...]


class LogLinearModel(BaseModel):
    """Days are log-normal: mean of the logarithm intercept + x . coefficients, standard deviation `deviation`."""

    model_config = FROZEN
    kind: Literal["log_linear"] = "log_linear"
    intercept: float
    coefficients: tuple[float, ...]
    deviation: float


class LogForestModel(BaseModel):
    """Days are log-normal: mean of the logarithm as the mean of the trees, standard deviation `deviation`."""

    model_config = FROZEN
    kind: Literal["log_forest"] = "log_forest"
    trees: tuple[Tree, ...]
    deviation: float


Fitted = Annotated[
    KaplanMeierModel | CoxModel | SurvivalForestModel | LogLinearModel | LogForestModel, Field(discriminator="kind")
]


def survival_curves(model: Fitted, features: Array, times: Array) -> Array:
    """S(t) (n, times) for prepared features (n, columns) at `times` in days."""
    match model:
        case KaplanMeierModel():
            curve = _stepped(times, model.times, np.array([model.survival]), before=1.0)
            return np.repeat(curve, len(features), axis=0)
        case CoxModel():
            hazard = _stepped(times, model.times, np.array([model.cumulative_hazard]), before=0.0)
            return np.asarray(np.exp(-hazard * np.exp(features @ np.array(model.coefficients))[:, None]))
        case SurvivalForestModel():
            return _stepped(times, model.times, forest_answer(model.trees, features), before=1.0)
        case LogLinearModel() | LogForestModel():
            from scipy.stats import norm

            safe = np.log(np.maximum(times, 1e-9))
            return np.asarray(norm.sf((safe[None, :] - _log_days(model, features)[:, None]) / model.deviation))


def _log_days(model: LogLinearModel | LogForestModel, features: Array) -> Array:
    if isinstance(model, LogLinearModel):
        return np.asarray(model.intercept + features @ np.array(model.coefficients))
    return forest_answer(model.trees, features)[:, 0]


def _stepped(times: Array, steps: Sequence[float], values: Array, *, before: float) -> Array:
    """Step functions (n, times): `values` (n, steps) from each step on, `before` ahead of the first."""
    position = np.searchsorted(np.array(steps), times, side="right")
    padded = np.concatenate([np.full((len(values), 1), before), values], axis=1)
    return padded[:, position]


def _outcome(days: Array, died: NDArray[np.bool_]) -> Any:
    from sksurv.util import Surv

    return Surv.from_arrays(event=died, time=days)


def fit_kaplan_meier(features: Array, days: Array, died: NDArray[np.bool_], *, seed: int) -> KaplanMeierModel:
    """The curve of the whole cohort (Kaplan and Meier, 1958)."""
    from sksurv.nonparametric import kaplan_meier_estimator

    times, survival = kaplan_meier_estimator(died, days)
    return KaplanMeierModel(times=_floats(times), survival=_floats(survival))


def fit_cox(features: Array, days: Array, died: NDArray[np.bool_], *, seed: int, penalty: float = 1.0) -> CoxModel:
    """Proportional hazards with a ridge `penalty` (Cox, 1972), ties after Efron."""
    from sklearn.exceptions import ConvergenceWarning
    from sksurv.linear_model import CoxPHSurvivalAnalysis

    with catch_warnings():
        # With more columns than patients and a small penalty it may stop before the optimum: cross-validation judges that.
        simplefilter("ignore", ConvergenceWarning)
        fitted = CoxPHSurvivalAnalysis(alpha=penalty, ties="efron").fit(features, _outcome(days, died))
    hazard = fitted.cum_baseline_hazard_
    return CoxModel(coefficients=_floats(fitted.coef_), times=_floats(hazard.x), cumulative_hazard=_floats(hazard.y))


def fit_survival_forest(
    features: Array, days: Array, died: NDArray[np.bool_], *, seed: int, leaf: int = 10, trees: int = 100
) -> SurvivalForestModel:
    """A random survival forest (Ishwaran et al., 2008) whose leaves hold `leaf` patients at least."""
    from sksurv.ensemble import RandomSurvivalForest

    forest = RandomSurvivalForest(n_estimators=trees, min_samples_leaf=leaf, max_features="sqrt", random_state=seed)
    forest.fit(features, _outcome(days, died))
    known = forest.unique_times_
    kept = np.unique(
        np.searchsorted(known, np.quantile(days[died], np.linspace(0, 1, CURVE_POINTS))).clip(0, len(known) - 1)
    )
    return SurvivalForestModel(
        times=_floats(known[kept]),
        trees=tuple(plain_tree(tree.tree_, tree.tree_.value[:, kept, 1]) for tree in forest.estimators_),
    )


def fit_ridge(features: Array, days: Array, died: NDArray[np.bool_], *, seed: int, penalty: float = 1.0) -> LogLinearModel:
    """Ridge regression of the logarithm of days, on those who died."""
    from sklearn.linear_model import Ridge

    target = _log(days[died])
    fitted = Ridge(alpha=penalty).fit(features[died], target)
    deviation = _deviation(target - fitted.predict(features[died]))
    return LogLinearModel(intercept=float(fitted.intercept_), coefficients=_floats(fitted.coef_), deviation=deviation)


def fit_forest(features: Array, days: Array, died: NDArray[np.bool_], *, seed: int, trees: int = 200) -> LogForestModel:
    """A random forest (Breiman, 2001) for the logarithm of days, on those who died; its deviation is out of bag."""
    from sklearn.ensemble import RandomForestRegressor

    target = _log(days[died])
    forest = RandomForestRegressor(
        n_estimators=trees, min_samples_leaf=5, max_features=1 / 3, oob_score=True, random_state=seed
    ).fit(features[died], target)
    return LogForestModel(
        trees=tuple(plain_tree(tree.tree_, tree.tree_.value[:, :, 0]) for tree in forest.estimators_),
        deviation=_deviation(target - forest.oob_prediction_),
    )


def _log(days: Array) -> Array:
    return np.asarray(np.log(np.maximum(days, 1.0)))


def _deviation(errors: Array) -> float:
    return max(float(np.sqrt(np.mean(errors**2))), LEAST_DEVIATION)


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@dataclass(frozen=True)
class Features:
    """What a model may look at: clinical columns, those and volumes with ratios, or all; of these the `most` telling."""

    of: Literal["clinical", "volumes", "all"]
    most: int | None = None


@dataclass(frozen=True)
class Family:
    """A kind of model: how it is fitted, settings and features that cross-validation chooses among, the simplest first.

    `only` restricts it to some columns; `is_baseline` families are what others have to beat.
    """

    fit: Callable[..., Fitted]
    title: str
    settings: tuple[dict[str, float], ...] = ({},)
    features: tuple[Features, ...] = (Features("clinical"), Features("volumes"), Features("all", 5), Features("all"))
    only: tuple[str, ...] = ()
    is_baseline: bool = False


FAMILIES: dict[str, Family] = {
    "cox": Family(fit_cox, "Cox", settings=({"penalty": 1.0}, {"penalty": 10.0}, {"penalty": 100.0})),
    "survival_forest": Family(fit_survival_forest, "survival forest", features=(Features("volumes"), Features("all"))),
    "ridge": Family(fit_ridge, "ridge", settings=({"penalty": 1.0}, {"penalty": 30.0}, {"penalty": 300.0})),
    "forest": Family(fit_forest, "forest", features=(Features("volumes"), Features("all"))),
    "age_only": Family(fit_ridge, "age only", features=(Features("all"),), only=("age_years",), is_baseline=True),
    "mean": Family(fit_kaplan_meier, "same for all", features=(Features("all", 0),), is_baseline=True),
}
