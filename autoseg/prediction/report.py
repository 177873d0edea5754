"""What a run of predictions leaves behind for people and machines."""

from pydantic import BaseModel

from autoseg.artefacts import FROZEN


class CasePrediction(BaseModel):
    """One case: the file written and what lies in it, or the `error` that prevented it.

    `seconds` are wall-clock times of read, prepare, network, export and write; stages of neighbouring cases overlap.
    `volumes_ml` of each label and region are empty for pictures, which have no size. `way` says where and in how many
    parts scores were summed. A case `skipped` was there already. `absent` names the channels that the case lacks, and
    that the model did without.
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
    error: str | None


class PredictionReport(BaseModel):
    """A run: which model with which settings, and each case.

    `made_from` maps "model" to a digest of all weights and plans, "settings" to one of what changes the result.
    `notes` say what was chosen on the user's behalf, `rules` how label maps were corrected.
    """

    model_config = FROZEN
    models: tuple[str, ...]
    configurations: tuple[str, ...]
    folds: tuple[str, ...]
    step: float
    mirroring: str
    single_window: bool
    precision: str
    device: str
    channels: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...]
    rules: tuple[str, ...]
    seconds: float
    cases: tuple[CasePrediction, ...]
    made_from: dict[str, str]

    @property
    def failed(self) -> tuple[CasePrediction, ...]:
        """The cases without a prediction."""
        return tuple(case for case in self.cases if case.error is not None)
