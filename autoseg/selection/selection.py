"""What was chosen and why: the artefact that prediction reads."""

from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.prediction.postprocessing import Rule

SELECTION_FORMAT = 1


class Source(BaseModel):
    """Which weights made a folder of predictions, and the seconds each case took (None: not known)."""

    model_config = FROZEN
    seconds: dict[str, float | None]
    made_from: dict[str, str]


class Judged(BaseModel):
    """A candidate's out-of-fold scores.

    `dice` is the mean over structures of the mean over cases, `low` to `high` its bootstrap 95 % interval, `hd95_mm` the
    same mean. `rank` is the mean place over cases, structures and both metrics (1 is best). `difference` is the Dice of the
    chosen one minus this one's over the cases, with the p value of Wilcoxon's test; None for the chosen one. `within_noise`
    says whether that is noise, None where cases are too few to tell.
    `training_bytes` and `prediction_bytes` are predicted peaks of memory, those of its largest model.
    """

    model_config = FROZEN
    name: str
    models: tuple[str, ...]
    dice: float | None
    low: float | None
    high: float | None
    hd95_mm: float | None
    rank: float
    difference: float | None = None
    p: float | None = None
    within_noise: bool | None = None
    seconds_per_case: float | None
    prediction_bytes: int | None


class Correction(BaseModel):
    """A post-processing rule with the mean foreground Dice before and after it, out of fold, and cross-fitted.

    Cross-fitted: for each fold the rule was chosen on the other folds' cases.
    """

    model_config = FROZEN
    rule: Rule
    before: float
    after: float
    cross_fitted: float
    kept: bool


class Selection(BaseModel):
    """The best of what is trained. `models` are folders relative to that of the data set; `folds` those all share.

    `criterion` is "dice" or "brats". `rules` are applied after prediction. `command` predicts the same by name.
    `made_from` maps each model and fold to the digest of its weights.
    """

    model_config = FROZEN
    format: int = SELECTION_FORMAT
    dataset: str
    criterion: str
    chosen: str
    models: tuple[str, ...]
    folds: tuple[str, ...]
    cases: int
    rules: tuple[Rule, ...]
    corrections: tuple[Correction, ...]
    judged: tuple[Judged, ...]
    notes: tuple[str, ...]
    command: str
    made_from: dict[str, str]
