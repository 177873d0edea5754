"""The cases a fold was not trained on, predicted whole and evaluated: what a trained fold is worth.

Predictions lie in MODEL/fold_X/validation, a label map for each case on the grid of its image, with prediction.json,
evaluation.json and per_case.csv as the commands for prediction and evaluation write them.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from autoseg.artefacts import load, refuse_unwritable, save
from autoseg.data.dataset import Case, Dataset
from autoseg.data.readers import read_header
from autoseg.errors import ArtefactError
from autoseg.evaluation.evaluate import Evaluation
from autoseg.evaluation.pairing import references_of
from autoseg.evaluation.run import CASES_FILE, EVALUATION_FILE
from autoseg.evaluation.run import evaluate as evaluate_folder
from autoseg.planning.plan import Configuration, Plan
from autoseg.prediction.case_job import CaseJob, written_behind
from autoseg.prediction.ensemble import Member
from autoseg.prediction.predictor import Prediction, Predictor
from autoseg.prediction.report import REPORT_FILE, CasePrediction, PredictionReport, earlier_report, new_report
from autoseg.prediction.settings import Settings
from autoseg.prediction.stored import prepared_from, whole_case_dice
from autoseg.preprocessing.store import StoredCase
from autoseg.progress import SILENT, Progress
from autoseg.training.judge import FoldScores
from autoseg.training.model_folder import VALIDATION_FOLDER, Model, fold_folder, load_network, open_model
from autoseg.training.previous_stage import folds_digest
from autoseg.workspace import DatasetFolder

REMAKE = "autoseg_plan DATASET"


@dataclass(frozen=True)
class WholeCases:
    """A training's judge: predicts as `autoseg_predict` does, from the cases as they are stored for training."""

    folder: DatasetFolder
    progress: Progress = SILENT
    workers: int | None = None

    def __getstate__(self) -> dict[str, object]:
        """What goes to another process: a progress bar stays where the terminal is."""
        return {"folder": self.folder, "progress": SILENT, "workers": self.workers}

    def cases(
        self,
        network: nn.Module,
        cases: Sequence[StoredCase],
        *,
        plan: Plan,
        configuration: Configuration,
        device: torch.device,
    ) -> tuple[float | None, ...]:
        """Dice of each foreground output, the mean over whole `cases`, on the network's own grid, without mirroring."""
        return whole_case_dice(network, cases, plan=plan, configuration=configuration, device=device)

    def fold(self, model: Path, fold: str, cases: Sequence[StoredCase], *, device: torch.device) -> FoldScores:
        """The scores of a fold's final weights in its held-out `cases`.

        Cases predicted before with these weights are not predicted again.
        """
        dataset = load(Dataset, self.folder.dataset_file, remake=REMAKE)
        job = _Job(open_model(model), fold, fold_folder(model, fold) / VALIDATION_FOLDER, dataset)
        report = job.predict(cases, device=str(device), progress=self.progress)
        evaluation = job.evaluation(report, workers=self.workers, progress=self.progress)
        return FoldScores(mean_dice=evaluation.over_structures["dice"].mean, cases=len(evaluation.cases), folder=job.output)


@dataclass(frozen=True)
class _Job:
    """One fold of a model, and where its validation goes."""

    model: Model
    fold: str
    output: Path
    dataset: Dataset

    def predict(self, cases: Sequence[StoredCase], *, device: str, progress: Progress) -> PredictionReport:
        """The report on all `cases`, those predicted now and before."""
        refuse_unwritable(self.output, remedy="Free space, or train without it: autoseg_train ... --no-validation")
        started = time.monotonic()
        settings = Settings(device=device)
        report = earlier_report(self.output, self._report(settings))
        ids = {case.id for case in cases}
        done = {case.id: case for case in report.cases if case.id in ids and (self.output / str(case.file)).is_file()}
        todo = [case for case in cases if case.id not in done]
        if not todo:
            return report.model_copy(update={"cases": tuple(done[id_] for id_ in sorted(done))})
        (self.output / EVALUATION_FILE).unlink(missing_ok=True)
        # Without the stage before: what that one found lies in the stored cases, by folds that had not seen them.
        member = Member(self.model.plan, self.model.configuration, (load_network(self.model, self.fold),))
        predictor = Predictor([member], settings=settings)
        description = f"validating fold {self.fold}"
        for case in progress.track(self._predicted(predictor, todo), description=description, total=len(todo)):
            done[case.id] = case
            seconds = round(report.seconds + time.monotonic() - started, 3)
            found = tuple(done[id_] for id_ in sorted(done))
            save(report.model_copy(update={"cases": found, "seconds": seconds}), self.output / REPORT_FILE)
        return report.model_copy(update={"cases": tuple(done[id_] for id_ in sorted(done))})

    def evaluation(self, report: PredictionReport, *, workers: int | None, progress: Progress) -> Evaluation:
        """The scores of what was predicted, as stored where that is of the very predictions."""
        ids = [case.id for case in report.cases]
        stored = self._stored_evaluation()
        if stored is not None and [case.id for case in stored.cases] == ids:
            return stored
        return evaluate_folder(
            self.output,
            lambda _predicted: references_of(self.dataset, ids),
            labels=self.model.plan.labels,
            workers=workers,
            progress=progress,
        )

    def _stored_evaluation(self) -> Evaluation | None:
        if not (self.output / CASES_FILE).is_file():
            return None
        try:
            return load(Evaluation, self.output / EVALUATION_FILE, remake=REMAKE)
        except ArtefactError:
            return None

    def _predicted(self, predictor: Predictor, cases: Sequence[StoredCase]) -> Iterator[CasePrediction]:
        """Each case once its file is there; one is written while the networks look at the next one."""
        job = CaseJob(predictor, self.output)
        return written_behind(
            partial(self._write, job, case.id, predictor.decide([prepared_from(case, labels=predictor.labels)]))
            for case in cases
        )

    def _write(self, job: CaseJob, id_: str, found: Prediction) -> CasePrediction:
        case = _case(self.dataset, id_)
        return job.write(case, found, read_header(case.image_paths(self.dataset.folder)[0]).geometry)

    def _report(self, settings: Settings) -> PredictionReport:
        """The report before the first case."""
        model = self.model
        return new_report(
            settings,
            models=[model.path],
            configurations=[model.configuration.name],
            folds=[self.fold],
            channels=model.plan.channels,
            labels=model.plan.labels,
            model_digest=folds_digest(model, [self.fold]),
            notes=["cases that the fold was not trained on"],
        )


def _case(dataset: Dataset, id_: str) -> Case:
    return next(case for case in dataset.cases if case.id == id_)
