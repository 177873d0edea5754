"""Predicting a folder of cases: reading the next one and writing the last one while the networks run."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from autoseg.artefacts import refuse_unwritable, save
from autoseg.data.dataset import Case
from autoseg.data.readers import is_image
from autoseg.errors import PredictionError
from autoseg.prediction.beside import Beside, chosen_channels, kept_classes
from autoseg.prediction.case_job import CaseJob
from autoseg.prediction.channels import cases_by_channel
from autoseg.prediction.ensemble import Ensemble, open_ensemble
from autoseg.prediction.files import UNCERTAINTY_FILE
from autoseg.prediction.inputs import find_cases, refuse_missing
from autoseg.prediction.map_files import is_whole, wanted_kinds
from autoseg.prediction.postprocessing import Rule
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.report import REPORT_FILE, CasePrediction, PredictionReport, earlier_report, new_report
from autoseg.prediction.review import review_of, write_table
from autoseg.prediction.settings import QUALITIES, Arithmetic, chosen_settings
from autoseg.prediction.workers import Order, predict_on
from autoseg.progress import SILENT, Progress

logger = logging.getLogger(__name__)

FEW_CASES = 3
"""Up to so many cases each one shows its own progress through the windows."""


def predict(
    inputs: Path | str | None,
    output: Path | str,
    *,
    models: Sequence[Path | str],
    folds: Sequence[str] = (),
    which: Literal["final", "best"] = "final",
    quality: str = "best",
    step: float | None = None,
    mirroring: bool | None = None,
    precision: Arithmetic = "auto",
    device: str = "auto",
    memory_gb: float | None = None,
    weights: Sequence[float] | None = None,
    probabilities: bool = False,
    classes: Sequence[str] = (),
    uncertainty: bool = False,
    skip_existing: bool = False,
    channels: Mapping[str, str] | None = None,
    rules: Sequence[Rule] = (),
    executor: str | None = None,
    devices: Sequence[str] = (),
    progress: Progress = SILENT,
    on_case: Callable[[CasePrediction, str], None] | None = None,
) -> PredictionReport:
    """Segment every case in `inputs` and write it to the folder `output` as CASE plus the ending of its image.

    `models` are model folders; several are averaged, with `weights` if they are given. `folds` are names such as "0" or
    "all", none means all that are trained. `quality` is a name in QUALITIES; `step`, `mirroring` and `folds` take the place
    of what it says. `probabilities` adds CASE_probabilities.nii.gz with a volume for each of `classes` (names or values;
    none: all), `uncertainty` CASE_entropy.nii.gz, CASE_variance.nii.gz and uncertainty.csv. With `skip_existing`, cases
    that this model has predicted before with the same settings, and whose files are whole, are left as they are.
    `rules` correct the label maps. `channels` says where each channel lies, see `cases_by_channel`. With an `executor`
    ("processes" or "dask://HOST:PORT") or `devices` ("0", "cpu", ...) cases go to workers, which each open the models once.

    A case that cannot be predicted is noted in the report and does not stop the others. The report is also written to
    `output`/prediction.json, anew after each case; `on_case` is told of each as it is there, with the digest of the model.
    """
    start = time.monotonic()
    given, output = None if inputs is None else Path(inputs), Path(output)
    if given is not None:
        refuse_missing(given)
        _check_output(given, output)
    settings = chosen_settings(
        quality, step=step, mirroring=mirroring, precision=precision, device=device, memory_gb=memory_gb
    )
    order = Order(
        models=tuple(Path(model).absolute() for model in models),
        folds=tuple(folds),
        most_folds=QUALITIES[quality].folds,
        which=which,
        settings=settings,
        output=output.absolute(),
        beside=Beside(probabilities or bool(classes), tuple(classes), uncertainty),
        weights=None if weights is None else tuple(weights),
        rules=tuple(rules),
    )
    ensemble = open_ensemble(
        order.models, folds=order.folds, which=which, most_folds=order.most_folds, weights=order.weights
    )
    predictor = Predictor(ensemble.members, settings=settings, weights=ensemble.shares)
    chosen_channels(order.beside.classes, predictor.labels)
    for note in ensemble.notes:
        logger.info(note)
    cases = _cases(given, channels or {}, predictor.channels)
    report = _report(ensemble, predictor, order)
    earlier, report = _earlier(report, order, predictor) if skip_existing else ({}, report)
    done = {case.id: earlier[case.id].model_copy(update={"skipped": True}) for case in cases if case.id in earlier}
    for case in done.values():
        _tell(on_case, case, ensemble.digest)
    todo = [case for case in cases if case.id not in earlier]
    report = _with_cases(report, done, start)
    if executor is not None or devices:
        running = predict_on(executor or "processes", order, todo, devices=devices)
    else:
        windows = progress if len(todo) <= FEW_CASES else SILENT
        running = CaseJob(predictor, order.output, order.beside, order.rules).pipeline(todo, windows)
    refuse_unwritable(output, remedy="Choose another folder with -o DIR.")
    for found in progress.track(running, description="predicting", total=len(todo)):
        done[found.id] = found
        _tell(on_case, found, ensemble.digest)
        report = _with_cases(report, done, start)
        save(report, output / REPORT_FILE)
    if uncertainty:
        report = report.model_copy(update={"review": review_of(report.cases)})
        save(report, output / REPORT_FILE)
        write_table(report.cases, output / UNCERTAINTY_FILE)
    return report


def _cases(inputs: Path | None, assigned: Mapping[str, str], channels: Sequence[str]) -> list[Case]:
    if assigned:
        return cases_by_channel(assigned, inputs, channels=channels)
    if inputs is None:
        raise PredictionError("nothing to predict. Name images or a folder with -i, or folders with --channel NAME=DIR.")
    return find_cases(inputs, channels=channels)


def _tell(on_case: Callable[[CasePrediction, str], None] | None, case: CasePrediction, model: str) -> None:
    if on_case is not None:
        on_case(case, model)


def _with_cases(report: PredictionReport, done: Mapping[str, CasePrediction], start: float) -> PredictionReport:
    ordered = tuple(done[name] for name in sorted(done))
    return report.model_copy(update={"cases": ordered, "seconds": round(time.monotonic() - start, 3)})


def _check_output(inputs: Path, output: Path) -> None:
    folder = inputs if inputs.is_dir() else inputs.parent
    if output.exists() and output.resolve() == folder.resolve():
        raise PredictionError(f"{output} holds the input; predictions might overwrite it. Choose another output folder.")
    if output.is_file() or is_image(output):
        raise PredictionError(f"{output}: the output is a folder; predictions are named after their cases in it.")


def _report(ensemble: Ensemble, predictor: Predictor, order: Order) -> PredictionReport:
    """The report before the first case, with precision and device as they were chosen."""
    return new_report(
        replace(predictor.settings, precision=predictor.precision.name, device=str(predictor.device)),
        models=ensemble.models,
        configurations=ensemble.configurations,
        shares=ensemble.shares,
        folds=ensemble.folds,
        channels=predictor.channels,
        labels=predictor.labels,
        model_digest=ensemble.digest,
        notes=[*ensemble.notes, *_on_uncertainty(order.beside, predictor)],
        rules=[str(rule) for rule in order.rules],
        classes=kept_classes(order.beside, predictor.labels),
    )


def _on_uncertainty(beside: Beside, predictor: Predictor) -> list[str]:
    if not beside.uncertainty:
        return []
    told = {
        "networks": "uncertainty: members are the networks of all folds and configurations",
        "mirrorings": "uncertainty: members are the mirrorings of the only network",
        None: "uncertainty: there is one network and no mirroring, so nothing varies: entropy alone is written",
    }
    return [told[predictor.apart]]


def _earlier(
    report: PredictionReport, order: Order, predictor: Predictor
) -> tuple[dict[str, CasePrediction], PredictionReport]:
    """The cases that an earlier run with the same model and settings has finished, by id; their files are whole.

    The report says of them what is known already.
    """
    found = earlier_report(order.output, report)
    if order.beside.probabilities and found.classes != report.classes:
        return {}, report
    wanted = wanted_kinds(order.beside, has_variance=predictor.apart is not None)
    whole = {case.id: case for case in found.cases if case.error is None and is_whole(case, order.output, wanted)}
    return whole, report.model_copy(update={"classes": found.classes})
