"""Predictions of each case by networks that were not trained on it, in one folder for each candidate."""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.artefacts import load, save
from autoseg.data.dataset import Case, Dataset
from autoseg.data.readers import image_stem, is_image
from autoseg.errors import ArtefactError, EvaluationError, SelectionError
from autoseg.evaluation.pairing import label_files
from autoseg.evaluation.stored import fold_predictions
from autoseg.prediction.case_job import CaseJob
from autoseg.prediction.ensemble import load_previous
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.report import REPORT_FILE, PredictionReport
from autoseg.prediction.settings import Settings
from autoseg.progress import SILENT, Progress
from autoseg.selection.candidates import Candidate
from autoseg.selection.selection import Source
from autoseg.selection.unseen import unseen_members
from autoseg.training.previous_stage import folds_digest

SOURCE_FILE = "source.json"
REMAKE = "autoseg_select"


@dataclass(frozen=True)
class OutOfFold:
    """A folder with a label map for each held-out case, and the seconds each took (None where it is not known)."""

    folder: Path
    seconds_per_case: float | None


def out_of_fold(
    candidate: Candidate, dataset: Dataset, folder: Path, *, device: str, progress: Progress = SILENT
) -> OutOfFold:
    """The candidate's predictions of the held-out cases of its folds, gathered in `folder`.

    A single model's are those of its validation, where they are whole; others are predicted now. What was made by the same
    weights before is kept. Raises SelectionError for a case that cannot be predicted.
    """
    made_from = weights_of(candidate)
    source = _known(folder, made_from)
    seconds = dict(source.seconds)
    for fold in candidate.folds:
        ids = [id_ for id_ in candidate.models[0].splits.fold(fold)[1] if id_ not in seconds]
        if not ids:
            continue
        stored = _stored(candidate, fold)
        if stored is not None:
            seconds |= _taken_over(stored, ids, folder)
        else:
            seconds |= _predicted(candidate, fold, whole_paths(dataset, ids), folder, device=device, progress=progress)
        save(Source(seconds=seconds, made_from=made_from), folder / SOURCE_FILE)
    known = [value for value in seconds.values() if value is not None]
    return OutOfFold(folder, sum(known) / len(known) if known else None)


def _known(folder: Path, made_from: dict[str, str]) -> Source:
    """What `folder` holds already of these weights; what other weights made is deleted."""
    fresh = Source(seconds={}, made_from=made_from)
    try:
        found = load(Source, folder / SOURCE_FILE, remake=REMAKE)
    except ArtefactError:
        found = None
    if found is not None and found.made_from == made_from:
        there = {image_stem(path) for path in folder.iterdir() if is_image(path)}
        return Source(seconds={id_: value for id_, value in found.seconds.items() if id_ in there}, made_from=made_from)
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return fresh


def _stored(candidate: Candidate, fold: str) -> Path | None:
    """The validation predictions of a single model's fold; None where they are not whole."""
    if len(candidate.models) > 1:
        return None
    try:
        return fold_predictions(candidate.models[0].path, fold)
    except EvaluationError:
        return None


def _taken_over(stored: Path, ids: Sequence[str], folder: Path) -> dict[str, float | None]:
    files = label_files(stored, what="predictions")
    for id_ in ids:
        target = folder / files[id_].name
        try:
            os.link(files[id_], target)
        except OSError:  # another disk, or one that knows no links
            shutil.copyfile(files[id_], target)
    try:
        report = load(PredictionReport, stored / REPORT_FILE, remake=REMAKE)
    except ArtefactError:
        return dict.fromkeys(ids)
    taken = {case.id: sum(case.seconds.values()) for case in report.cases}
    return {id_: taken.get(id_) for id_ in ids}


def weights_of(candidate: Candidate) -> dict[str, str]:
    """A digest of the weights of each model and fold, and of the first stages that they refine."""
    found = {
        f"{model.card.name} fold {fold}": folds_digest(model, [fold])
        for model in candidate.models
        for fold in candidate.folds
    }
    cascades = [model for model in candidate.models if model.configuration.previous_stage is not None]
    return found | {f"{model.card.name} first stage": load_previous(model).digest for model in cascades}


def whole_paths(dataset: Dataset, ids: Sequence[str]) -> list[Case]:
    """The cases with absolute paths, as the prediction wants them."""
    wanted = set(ids)
    return [
        case.model_copy(update={"images": tuple(str(path.absolute()) for path in case.image_paths(dataset.folder))})
        for case in dataset.cases
        if case.id in wanted
    ]


def _predicted(
    candidate: Candidate, fold: str, cases: Sequence[Case], folder: Path, *, device: str, progress: Progress
) -> dict[str, float | None]:
    seconds: dict[str, float | None] = {}
    for members, ids in unseen_members(candidate.models, fold, [case.id for case in cases]):
        job = CaseJob(Predictor(members, settings=Settings(device=device)), folder)
        begun = time.monotonic()
        running = job.pipeline([case for case in cases if case.id in ids], SILENT)
        for case in progress.track(running, description=f"{candidate.name}, fold {fold}", total=len(ids)):
            if case.error is not None:
                raise SelectionError(f"{candidate.name}, fold {fold}: {case.error}")
            now = time.monotonic()
            seconds[case.id], begun = now - begun, now
    return seconds
