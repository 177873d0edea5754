"""What a run of predictions leaves behind for people and machines."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN, load
from autoseg.data.labels import LabelScheme
from autoseg.errors import ArtefactError
from autoseg.prediction.settings import Settings

REPORT_FILE = "prediction.json"
DECISIVE = {"made_from", "step", "mirroring", "single_window", "precision", "rules"}
"""Fields of a report by which two runs predict the same."""


class Uncertainty(BaseModel):
    """How sure a structure of a case is.

    `volume_ml` is that of the label map (None for pictures, which have no size), `members` how many networks or mirrorings
    were compared. The smallest and the largest of the volumes that they find alone stand beside their deviation (n - 1 in
    the denominator), which is None where there is only one.
    `found_by` counts those that find any of it. `entropy_bits` is the mean over its voxels, `border_entropy_bits` over the
    voxels on both sides of its surface, `expected_dice` what its probabilities let expect before the label map is
    corrected; these are None where the label map has none of it.
    """

    model_config = FROZEN
    volume_ml: float | None
    members: int
    found_by: int
    volume_sd_ml: float | None
    volume_min_ml: float | None
    volume_max_ml: float | None
    entropy_bits: float | None
    border_entropy_bits: float | None
    expected_dice: float | None


class CasePrediction(BaseModel):
    """One case: the file written and what lies in it, or the `error` that prevented it.

    `seconds` are wall-clock times of read, prepare, network, export and write; stages of neighbouring cases overlap.
    `volumes_ml` of each label and region are empty for pictures, which have no size. `way` says where and in how many
    parts scores were summed. A case `skipped` was there already. `absent` names the channels that the case lacks, and
    that the model did without. `probabilities`, `entropy` and `variance` are files beside `file`, `uncertainty` says how
    sure each structure is; None where they were not asked for, or do not exist.
    """

    model_config = FROZEN
    id: str
    file: str | None
    probabilities: str | None
    skipped: bool
    seconds: dict[str, float]
    volumes_ml: dict[str, float]
    way: str | None
    absent: tuple[str, ...] = ()
    entropy: str | None = None
    variance: str | None = None
    uncertainty: dict[str, Uncertainty] | None = None
    error: str | None


class PredictionReport(BaseModel):
    """A run: which model with which settings, and each case.

    `shares` are what the models count, `labels` what the values mean, `classes` the volumes of the probabilities in their
    order (empty where they were not asked for). `made_from` maps "model" to a digest of all weights, plans and shares.
    `notes` say what was chosen on the user's behalf, `rules` how label maps were corrected. `review` gives the reasons why
    a case should be looked at.
    """

    model_config = FROZEN
    models: tuple[str, ...]
    configurations: tuple[str, ...]
    shares: tuple[float, ...] = ()
    folds: tuple[str, ...]
    step: float
    mirroring: str
    single_window: bool
    precision: str
    device: str
    channels: tuple[str, ...]
    outputs: tuple[str, ...]
    labels: LabelScheme
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...]
    rules: tuple[str, ...]
    seconds: float
    cases: tuple[CasePrediction, ...]
    review: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    made_from: dict[str, str]

    @property
    def failed(self) -> tuple[CasePrediction, ...]:
        """The cases without a prediction."""
        return failures(self.cases)


def failures(cases: Sequence[CasePrediction]) -> tuple[CasePrediction, ...]:
    """The cases that have an error instead of files."""
    return tuple(case for case in cases if case.error is not None)


def new_report(
    settings: Settings,
    *,
    models: Sequence[Path],
    configurations: Sequence[str],
    folds: Sequence[str],
    channels: Sequence[str],
    labels: LabelScheme,
    model_digest: str,
    notes: Sequence[str] = (),
    rules: Sequence[str] = (),
    shares: Sequence[float] = (1.0,),
    classes: Sequence[str] = (),
) -> PredictionReport:
    """The report of a run that has no case yet."""
    return PredictionReport(
        models=tuple(map(str, models)),
        configurations=tuple(configurations),
        shares=tuple(shares),
        folds=tuple(folds),
        step=settings.step,
        mirroring=settings.mirroring,
        single_window=settings.single_window,
        precision=settings.precision,
        device=settings.device,
        channels=tuple(channels),
        outputs=labels.output_names,
        labels=labels,
        classes=tuple(classes),
        notes=tuple(notes),
        rules=tuple(rules),
        seconds=0.0,
        cases=(),
        made_from={"model": model_digest},
    )


def earlier_report(folder: Path, report: PredictionReport) -> PredictionReport:
    """The report that lies in `folder` if its run predicted as that of `report` will, else `report`."""
    try:
        found = load(PredictionReport, folder / REPORT_FILE, remake="autoseg_predict")
    except ArtefactError:
        return report
    return found if found.model_dump(include=DECISIVE) == report.model_dump(include=DECISIVE) else report
