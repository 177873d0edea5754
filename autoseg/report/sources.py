"""What a report is made of: the artefacts of a data set, a trained model or a folder of predictions, as they are stored."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from autoseg.artefacts import load
from autoseg.data.dataset import Case, Dataset
from autoseg.data.readers import image_stem, is_image
from autoseg.data.splits import Splits
from autoseg.errors import ArtefactError, EvaluationError
from autoseg.evaluation.evaluate import Evaluation, summed_up
from autoseg.evaluation.run import EVALUATION_FILE
from autoseg.fingerprint.fingerprint import Fingerprint
from autoseg.planning.plan import Plan
from autoseg.prediction.files import is_map
from autoseg.prediction.report import REPORT_FILE, PredictionReport
from autoseg.survival.model import SurvivalModel
from autoseg.survival.run import open_survival_model
from autoseg.training.model_folder import (
    CARD_FILE,
    FOLD_FILE,
    PLAN_FILE,
    SPLITS_FILE,
    VALIDATION_FOLDER,
    FoldCard,
    ModelCard,
)
from autoseg.workspace import DatasetFolder

HISTORY_FILE = "history.jsonl"
PLAN_AGAIN = "autoseg_plan DATASET"
TRAIN_AGAIN = "autoseg_train CONFIGURATION"
EVALUATE_AGAIN = "autoseg_evaluate -p PREDICTIONS -d DATASET"

Model = TypeVar("Model", bound=BaseModel)
Epoch = Mapping[str, Any]
"""One line of a training's history, as stored."""


@dataclass(frozen=True)
class FoldRun:
    """One fold of a model: what is stored of its training, and of its held-out cases.

    `unscored` are the held-out cases that its evaluation does not hold.
    """

    name: str
    folder: Path
    card: FoldCard | None
    history: tuple[Epoch, ...]
    evaluation: Evaluation | None
    prediction: PredictionReport | None
    unscored: tuple[str, ...] = ()


@dataclass(frozen=True)
class SurvivalRun:
    """A survival model, and the folder with its pictures."""

    folder: Path
    model: SurvivalModel


@dataclass(frozen=True)
class Sources:
    """All artefacts of a report; None and empty where there are none. `problems` name what could not be read.

    `evaluation` is that of the predictions, or of the held-out cases of all folds together.
    """

    title: str
    dataset: Dataset | None = None
    fingerprint: Fingerprint | None = None
    plan: Plan | None = None
    card: ModelCard | None = None
    folds: tuple[FoldRun, ...] = ()
    evaluation: Evaluation | None = None
    prediction: PredictionReport | None = None
    predictions: Mapping[str, Path] = field(default_factory=dict)
    survival: SurvivalRun | None = None
    problems: tuple[str, ...] = ()

    def case(self, case_id: str) -> Case | None:
        """The case of the data set with this id; None where the data set is not known or does not hold it."""
        cases = (*self.dataset.cases, *self.dataset.test_cases) if self.dataset is not None else ()
        return next((case for case in cases if case.id == case_id), None)

    def reference(self, case_id: str) -> Path | None:
        """The label map a case was held against."""
        case = self.case(case_id)
        if self.dataset is not None and case is not None and case.label is not None:
            return case.label_path(self.dataset.folder)
        folder = Path(self.evaluation.references) if self.evaluation is not None else None
        return _images(folder).get(case_id) if folder is not None else None


class _Reader:
    """Reads artefacts and keeps the messages of those that cannot be read."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def read(self, model: type[Model], path: Path, *, remake: str, is_needed: bool = False) -> Model | None:
        """The artefact at `path`; None if it is damaged, which is noted, or absent, noted where it `is_needed`."""
        if not (is_needed or path.exists()):
            return None
        try:
            return load(model, path, remake=remake)
        except ArtefactError as error:
            self.problems.append(str(error))
            return None

    def history(self, path: Path) -> tuple[Epoch, ...]:
        """The epochs in a file of JSON lines; a damaged line is noted and ends them."""
        if not path.exists():
            return ()
        rows: list[Epoch] = []
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            try:
                rows.append(dict(json.loads(line)))
            except ValueError as error:
                self.problems.append(f"{path}: line {number} is no JSON ({error}). Epochs from there on are left out.")
                break
        return tuple(rows)


def of_dataset(folder: DatasetFolder, model: Path | None) -> Sources:
    """The artefacts of a planned data set, and of a trained model where one is named."""
    reader = _Reader()
    dataset = reader.read(Dataset, folder.dataset_file, remake=PLAN_AGAIN, is_needed=True)
    fingerprint = reader.read(Fingerprint, folder.fingerprint_file, remake=PLAN_AGAIN)
    # A model keeps the plan it was trained by; the data set's may have changed since.
    plan_file = folder.plan_file if model is None else model / PLAN_FILE
    plan = reader.read(Plan, plan_file, remake=PLAN_AGAIN if model is None else TRAIN_AGAIN, is_needed=True)
    folds = () if model is None else _folds(model, reader)
    evaluated = [fold.evaluation for fold in folds if fold.evaluation is not None]
    predictions: dict[str, Path] = {}
    for fold in folds:
        predictions |= _images(fold.folder / VALIDATION_FOLDER) if fold.evaluation is not None else {}
    return Sources(
        title=folder.path.name if model is None else f"{folder.path.name}, {model.name}",
        dataset=dataset,
        fingerprint=fingerprint,
        plan=plan,
        card=None if model is None else reader.read(ModelCard, model / CARD_FILE, remake=TRAIN_AGAIN, is_needed=True),
        folds=folds,
        evaluation=pooled(evaluated) if evaluated else None,
        predictions=predictions,
        problems=tuple(reader.problems),
    )


def of_survival(folder: Path) -> SurvivalRun:
    """A survival model with its pictures. Raises ArtefactError where the folder holds none, or a damaged one."""
    return SurvivalRun(folder, open_survival_model(folder))


def of_predictions(folder: Path, dataset: Path | None) -> Sources:
    """The artefacts of a folder of predictions that was evaluated; `dataset` is the stored data set, for its images.

    Raises ArtefactError where the folder holds no evaluation, or a damaged one.
    """
    reader = _Reader()
    evaluation = load(Evaluation, folder / EVALUATION_FILE, remake=EVALUATE_AGAIN)
    return Sources(
        title=folder.resolve().name,
        dataset=None if dataset is None else reader.read(Dataset, dataset, remake=PLAN_AGAIN),
        evaluation=evaluation,
        prediction=reader.read(PredictionReport, _report_file(folder, evaluation), remake="autoseg_predict -i IN -o OUT"),
        predictions=_images(folder) or _images(Path(evaluation.predictions)),
        problems=tuple(reader.problems),
    )


def pooled(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The held-out cases of all folds as one evaluation, so that each case counts once.

    Raises EvaluationError where folds were evaluated with different labels, settings or metrics.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        if (other.scheme, other.settings, other.metrics) != (first.scheme, first.settings, first.metrics):
            raise EvaluationError(
                f"{other.predictions} was evaluated with other labels, settings or metrics than {first.predictions}. "
                "Evaluate all folds with the same options: autoseg_evaluate -f FOLD"
            )
    cases = sorted((case for one in evaluations for case in one.cases), key=lambda case: case.id)
    return summed_up(
        cases,
        scheme=first.scheme,
        settings=first.settings,
        metrics=first.metrics,
        predictions=str(Path(first.predictions).parent.parent),
        references=first.references,
        extra=sorted(case for one in evaluations for case in one.extra),
        missing=sorted(case for one in evaluations for case in one.missing),
    )


def _folds(model: Path, reader: _Reader) -> tuple[FoldRun, ...]:
    splits = reader.read(Splits, model / SPLITS_FILE, remake=TRAIN_AGAIN, is_needed=True)
    found = []
    for folder in sorted(path for path in model.glob("fold_*") if path.is_dir()):
        held_out, name = folder / VALIDATION_FOLDER, folder.name.removeprefix("fold_")
        evaluation = reader.read(Evaluation, held_out / EVALUATION_FILE, remake="autoseg_evaluate -f FOLD")
        found.append(
            FoldRun(
                name=name,
                folder=folder,
                card=reader.read(FoldCard, folder / FOLD_FILE, remake=TRAIN_AGAIN, is_needed=True),
                history=reader.history(folder / HISTORY_FILE),
                evaluation=evaluation,
                prediction=reader.read(PredictionReport, held_out / REPORT_FILE, remake=TRAIN_AGAIN),
                unscored=_unscored(splits, name, evaluation),
            )
        )
    return tuple(found)


def _unscored(splits: Splits | None, fold: str, evaluation: Evaluation | None) -> tuple[str, ...]:
    if splits is None or evaluation is None or fold not in splits.names:
        return ()
    scored = {case.id for case in evaluation.cases}
    return tuple(case for case in splits.fold(fold)[1] if case not in scored)


def _report_file(folder: Path, evaluation: Evaluation) -> Path:
    own = folder / REPORT_FILE
    return own if own.exists() else Path(evaluation.predictions) / REPORT_FILE


def _images(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found = {image_stem(path): path for path in sorted(folder.iterdir()) if path.is_file() and is_image(path)}
    return {stem: path for stem, path in found.items() if not is_map(stem, found)}
