"""Predicting a folder of cases: reading the next one and writing the last one while the networks run."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from autoseg.artefacts import load, refuse_unwritable, save, written_whole
from autoseg.data.dataset import Case
from autoseg.data.image import Geometry
from autoseg.data.readers import is_image, read_case, write_labels
from autoseg.errors import ArtefactError, AutosegError, PredictionError
from autoseg.prediction.ensemble import Ensemble, open_ensemble
from autoseg.prediction.export import Scores
from autoseg.prediction.inputs import find_cases, prediction_ending
from autoseg.prediction.predictor import Predictor, Settings
from autoseg.prediction.report import CasePrediction, PredictionReport
from autoseg.prediction.volumes import volumes_ml
from autoseg.preprocessing.case import Placement, Prepared
from autoseg.progress import SILENT, Progress

logger = logging.getLogger(__name__)

REPORT_FILE = "prediction.json"
FEW_CASES = 3
"""Up to so many cases each one shows its own progress through the windows."""


def predict(
    inputs: Path | str,
    output: Path | str,
    *,
    models: Sequence[Path | str],
    folds: Sequence[str] = (),
    which: Literal["final", "best"] = "final",
    step: float = 0.5,
    mirroring: bool = True,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    device: str = "auto",
    probabilities: bool = False,
    skip_existing: bool = False,
    progress: Progress = SILENT,
) -> PredictionReport:
    """Segment every case in `inputs` and write it to the folder `output` as CASE plus the ending of its image.

    `models` are model folders; several are averaged. `folds` are names such as "0" or "all", none means all that are
    trained. `probabilities` adds CASE_probabilities.npy (output channel, z, y, x; float16). With `skip_existing`, cases
    that this model has predicted before with the same settings are left as they are.

    A case that cannot be predicted is noted in the report and does not stop the others. The report is also written to
    `output`/prediction.json, anew after each case.
    """
    start = time.monotonic()
    inputs, output = Path(inputs), Path(output)
    settings = Settings(step=step, mirroring=mirroring, precision=precision, device=device)
    _check_output(inputs, output)
    ensemble = open_ensemble([Path(model) for model in models], folds=folds, which=which)
    predictor = Predictor(ensemble.members, settings=settings)
    for note in ensemble.notes:
        logger.info(note)
    cases = find_cases(inputs, channels=predictor.channels)
    report = _empty_report(ensemble, predictor)
    wanted = _Job(predictor, inputs, output, probabilities)
    earlier = _earlier(output / REPORT_FILE, report, wanted) if skip_existing else {}
    done: list[CasePrediction] = [
        earlier[case.id].model_copy(update={"skipped": True}) for case in cases if case.id in earlier
    ]
    todo = [case for case in cases if case.id not in earlier]
    refuse_unwritable(output, remedy="Choose another folder with -o DIR.")
    windows = progress if len(todo) <= FEW_CASES else SILENT
    for case in progress.track(_pipeline(wanted, todo, windows), description="predicting", total=len(todo)):
        done.append(case)
        ordered = tuple(sorted(done, key=lambda item: item.id))
        report = report.model_copy(update={"cases": ordered, "seconds": round(time.monotonic() - start, 3)})
        save(report, output / REPORT_FILE)
    return report.model_copy(update={"cases": tuple(sorted(done, key=lambda item: item.id))})


@dataclass(frozen=True, eq=False)
class _Ready:
    """A case that has been read and prepared."""

    prepared: list[Prepared]
    geometry: Geometry
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Job:
    """What is done to each case, in three steps that run in threads of their own."""

    predictor: Predictor
    root: Path
    output: Path
    probabilities: bool

    def label_file(self, case: Case) -> Path:
        return self.output / f"{case.id}{prediction_ending(case.image_paths(self.root)[0])}"

    def probability_file(self, case: Case) -> Path | None:
        return self.output / f"{case.id}_probabilities.npy" if self.probabilities else None

    def read(self, case: Case) -> _Ready:
        start = time.monotonic()
        _check_files(case, self.predictor.channels)
        image = read_case(case, self.root, channels=self.predictor.channels)
        middle = time.monotonic()
        prepared = self.predictor.prepare(image)
        return _Ready(prepared, image.geometry, {"read": middle - start, "prepare": time.monotonic() - middle})

    def segment(self, case: Case, reading: "Future[_Ready]", progress: Progress) -> Callable[[], CasePrediction]:
        """Run the networks; returns what is left to do, or the failure to report."""
        try:
            ready = reading.result()
            start = time.monotonic()
            scores = self.predictor.scores(ready.prepared, progress=progress, description=case.id)
        except _OF_ONE_CASE as error:
            return partial(_failed, case, error)
        seconds = {**ready.seconds, "network": time.monotonic() - start}
        return partial(self.write, case, scores, ready.prepared[0].placement, ready.geometry, seconds)

    def write(
        self, case: Case, scores: list[Scores], placement: Placement, geometry: Geometry, seconds: dict[str, float]
    ) -> CasePrediction:
        try:
            start = time.monotonic()
            found = self.predictor.export(scores, placement, probabilities=self.probabilities)
            middle = time.monotonic()
            write_labels(self.label_file(case), found.labels, geometry)
            extra = self.probability_file(case)
            if extra is not None and found.probabilities is not None:
                _write_array(extra, found.probabilities)
        except _OF_ONE_CASE as error:
            return _failed(case, error)
        seconds = {**seconds, "export": middle - start, "write": time.monotonic() - middle}
        return CasePrediction(
            id=case.id,
            file=self.label_file(case).name,
            probabilities=extra.name if extra else None,
            skipped=False,
            seconds={name: round(value, 3) for name, value in seconds.items()},
            volumes_ml=volumes_ml(found.labels, self.predictor.labels, geometry),
            error=None,
        )


_OF_ONE_CASE = (AutosegError, MemoryError, torch.cuda.OutOfMemoryError)
"""What may go wrong with one case and leave the others alone; anything else is a bug and ends the run."""


def _pipeline(job: _Job, cases: Sequence[Case], progress: Progress) -> Iterator[CasePrediction]:
    """The finished cases in order. At any time one is read, one is in the networks and one is written."""
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        writing: Future[CasePrediction] | None = None
        for case, reading in _one_ahead(reader, job.read, cases):
            rest = job.segment(case, reading, progress)
            if writing is not None:
                yield writing.result()
            writing = writer.submit(rest)
        if writing is not None:
            yield writing.result()


def _one_ahead(
    executor: ThreadPoolExecutor, function: Callable[[Case], _Ready], cases: Sequence[Case]
) -> Iterator[tuple[Case, "Future[_Ready]"]]:
    """Each case with its result under way; that of the next one is begun before a case is handed out."""
    following = executor.submit(function, cases[0]) if cases else None
    for index, case in enumerate(cases):
        current = following
        assert current is not None, "begun one step before"
        following = executor.submit(function, cases[index + 1]) if index + 1 < len(cases) else None
        yield case, current


def _failed(case: Case, error: BaseException) -> CasePrediction:
    message = (
        str(error) if isinstance(error, AutosegError) else "not enough memory; close other programs or use --device cpu"
    )
    named = message if case.id in message else f"case {case.id}: {message}"
    return CasePrediction(id=case.id, file=None, probabilities=None, skipped=False, seconds={}, volumes_ml={}, error=named)


def _check_files(case: Case, channels: Sequence[str]) -> None:
    if len(case.images) not in (1, len(channels)):
        found = ", ".join(Path(file).name for file in case.images)
        raise PredictionError(
            f"case {case.id}: {len(case.images)} channels found ({found}); the "
            f"model expects {len(channels)}: {', '.join(channels)}. Give one file for each, or one file with all."
        )


def _write_array(path: Path, values: NDArray[np.float16]) -> None:
    with written_whole(path) as file:
        np.save(file, values, allow_pickle=False)


def _check_output(inputs: Path, output: Path) -> None:
    folder = inputs if inputs.is_dir() else inputs.parent
    if output.exists() and output.resolve() == folder.resolve():
        raise PredictionError(f"{output} holds the input; predictions might overwrite it. Choose another output folder.")
    if output.is_file() or is_image(output):
        raise PredictionError(f"{output}: the output is a folder; predictions are named after their cases in it.")


def _empty_report(ensemble: Ensemble, predictor: Predictor) -> PredictionReport:
    settings = predictor.settings
    return PredictionReport(
        models=tuple(str(model) for model in ensemble.models),
        configurations=ensemble.configurations,
        folds=ensemble.folds,
        step=settings.step,
        mirroring=settings.mirroring,
        precision=predictor.precision.name,
        device=str(predictor.device),
        channels=predictor.channels,
        outputs=predictor.labels.output_names,
        notes=ensemble.notes,
        seconds=0.0,
        cases=(),
        made_from={"model": ensemble.digest},
    )


def _earlier(file: Path, report: PredictionReport, job: _Job) -> dict[str, CasePrediction]:
    """The cases that an earlier run with the same model and settings has finished, by id."""
    try:
        found = load(PredictionReport, file, remake="autoseg_predict")
    except ArtefactError:
        return {}
    decisive = {"made_from", "step", "mirroring", "precision"}
    if found.model_dump(include=decisive) != report.model_dump(include=decisive):
        return {}
    return {case.id: case for case in found.cases if case.error is None and _is_there(case, job)}


def _is_there(case: CasePrediction, job: _Job) -> bool:
    files = [case.file, *([case.probabilities] if job.probabilities else [])]
    return all(name is not None and (job.output / name).is_file() for name in files)
