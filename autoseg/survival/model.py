"""A survival model as it is stored and used: plain numbers, the columns it needs, and how well it did."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.errors import SurvivalError
from autoseg.survival.models import Fitted, survival_curves
from autoseg.survival.preparation import Preparation
from autoseg.survival.scores import CalibrationPoint, Score
from autoseg.survival.validation import Answers

MODEL_FORMAT = 1
NOTICE = "For research. Not for treatment decisions: neither the days nor the risk groups have been validated for patients."
RISK_GROUPS = ("high", "middle", "low")
INTERVAL = 0.8
MOST_DRIVERS = 3


class FamilyScores(BaseModel):
    """Out-of-fold scores of one family of models; `settings` and `features` are those chosen on all patients."""

    model_config = FROZEN
    family: str
    title: str
    is_baseline: bool
    settings: dict[str, float]
    features: str
    scores: dict[str, Score]


class AgainstAge(BaseModel):
    """The automatic choice minus the age-only baseline, out of fold, with bootstrap intervals; `verdict` in words."""

    model_config = FROZEN
    c_index: Score
    spearman: Score
    verdict: str


class Validation(BaseModel):
    """Nested cross-validation: what each family scored on patients it had not seen."""

    model_config = FROZEN
    patients: int
    died: int
    groups: int
    outer_folds: int
    inner_folds: int
    seed: int
    without_survival: tuple[str, ...]
    without_features: tuple[str, ...]
    families: tuple[FamilyScores, ...]
    automatic: dict[str, Score]
    against_age: AgainstAge | None
    calibration: tuple[CalibrationPoint, ...]
    log_rank_p: float | None


class SurvivalModel(BaseModel):
    """Everything prediction needs. `residuals` are log(true / predicted days) out of fold, at the ends of the interval.

    Patients whose predicted days are below `group_days[0]` are at high risk, above `group_days[1]` at low risk.
    `family` is what was fitted to all patients. `made_from` maps table and features to digests.
    """

    model_config = FROZEN
    format: int = MODEL_FORMAT
    autoseg_version: str
    notice: str = NOTICE
    family: str
    columns: tuple[str, ...]
    preparation: Preparation
    fitted: Fitted
    last_day: int
    residuals: tuple[float, float]
    group_days: tuple[float, float]
    validation: Validation
    made_from: dict[str, str]


class Driver(BaseModel):
    """A feature that moved a prediction: days with it divided by days with the median patient's value instead."""

    model_config = FROZEN
    feature: str
    value: float | None
    factor: float


@dataclass(frozen=True)
class Forecast:
    """Predicted days, the interval that holds `INTERVAL` of patients, the risk group, and what drove it."""

    id: str
    days: float
    low: float
    high: float
    group: str
    drivers: tuple[Driver, ...]
    unknown: tuple[str, ...]


def forecast(model: SurvivalModel, ids: Sequence[str], features: NDArray[np.float64]) -> list[Forecast]:
    """The forecast for each row of features (n, `model.preparation.columns`, NaN where unknown)."""
    days = _days(model, features)
    columns = model.preparation.columns
    return [
        Forecast(
            id=id_,
            days=float(days[row]),
            low=float(days[row] * np.exp(model.residuals[0])),
            high=float(days[row] * np.exp(model.residuals[1])),
            group=risk_group(float(days[row]), model.group_days),
            drivers=_drivers(model, features[row], float(days[row])),
            unknown=tuple(name for name, value in zip(columns, features[row], strict=True) if np.isnan(value)),
        )
        for row, id_ in enumerate(ids)
    ]


def risk_group(days: float, limits: tuple[float, float]) -> str:
    """The risk group of predicted days."""
    return RISK_GROUPS[0] if days < limits[0] else RISK_GROUPS[2] if days > limits[1] else RISK_GROUPS[1]


def refuse_missing(model: SurvivalModel, columns: Sequence[str], *, where: str) -> None:
    """Raise SurvivalError for columns that the model needs and `where` lacks, with the nearest name it has."""
    from difflib import get_close_matches

    missing = [name for name in model.preparation.columns if name not in columns]
    if not missing:
        return
    close = get_close_matches(missing[0], columns, n=1, cutoff=0.6)
    hint = f" (is it {close[0]!r}?)" if close else ""
    raise SurvivalError(
        f"{where}: {missing[0]!r} is missing{hint}; the model needs {', '.join(model.preparation.columns)}. Units are part "
        "of the names. Clinical columns come from --clinical CSV, others from segmentations with the regions trained on."
    )


def _days(model: SurvivalModel, features: NDArray[np.float64]) -> NDArray[np.float64]:
    prepared = model.preparation.apply(features, model.preparation.columns)
    return Answers(survival_curves(model.fitted, prepared, np.arange(model.last_day + 1, dtype=np.float64))).days


def _drivers(model: SurvivalModel, row: NDArray[np.float64], days: float) -> tuple[Driver, ...]:
    """The features whose replacement by the training median changes the days most."""
    columns = model.preparation.columns
    if not columns:
        return ()
    typical = np.repeat(row[None, :], len(columns), axis=0)
    np.fill_diagonal(typical, model.preparation.medians)
    factors = (days + 1) / (_days(model, typical) + 1)
    order = np.argsort(-np.abs(np.log(factors)), kind="stable")[:MOST_DRIVERS]
    return tuple(
        Driver(feature=columns[i], value=None if np.isnan(row[i]) else float(row[i]), factor=float(factors[i]))
        for i in order
        if abs(np.log(factors[i])) > 1e-3
    )


def feature_effects(model: SurvivalModel) -> list[Driver]:
    """Each column's effect, largest first: days with it one standard deviation higher, divided by the typical days."""
    preparation = model.preparation
    typical = np.array(preparation.medians)
    raised = typical + np.diag(preparation.deviations)
    days = _days(model, np.vstack([typical, raised])) if preparation.columns else np.empty(0)
    effects = [
        Driver(feature=name, value=float(raised[i, i]), factor=float((days[i + 1] + 1) / (days[0] + 1)))
        for i, name in enumerate(preparation.columns)
    ]
    return sorted(effects, key=lambda effect: -abs(np.log(effect.factor)))
