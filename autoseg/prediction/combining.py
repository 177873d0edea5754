"""The mean of the probabilities that earlier runs have saved, the label maps that it speaks for, and how sure it is."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoseg.artefacts import refuse_unwritable, save
from autoseg.data.dataset import Case
from autoseg.data.readers import read_header
from autoseg.errors import AutosegError
from autoseg.prediction.beside import NOTHING, Beside, kept_classes
from autoseg.prediction.case_job import failed
from autoseg.prediction.combined import (
    ENSEMBLE_FILE,
    EnsembleReport,
    Source,
    case_ids,
    earlier_cases,
    empty_report,
    open_sources,
)
from autoseg.prediction.files import UNCERTAINTY_FILE
from autoseg.prediction.map_files import is_whole, wanted_kinds
from autoseg.prediction.postprocessing import Rule, values_of
from autoseg.prediction.predictor import Prediction
from autoseg.prediction.report import CasePrediction
from autoseg.prediction.review import review_of, write_table
from autoseg.prediction.saved import SavedCase, beside_of, decided
from autoseg.prediction.thresholds import thresholds_of
from autoseg.prediction.writing import write_case
from autoseg.progress import SILENT, Progress


def combine(
    folders: Sequence[Path | str],
    output: Path | str,
    *,
    weights: Sequence[float] | None = None,
    rules: Sequence[Rule] = (),
    beside: Beside = NOTHING,
    skip_existing: bool = False,
    progress: Progress = SILENT,
    on_case: Callable[[CasePrediction], None] | None = None,
) -> EnsembleReport:
    """Average the probabilities in `folders` (of `autoseg_predict --probabilities`) and write label maps to `output`.

    `weights` are one for each folder. Neither what is written nor the digest of the ensemble depend, in any bit, on the
    order of the folders. `rules` correct the label maps. `beside` asks for the mean probabilities, and for uncertainty with
    the folders as members, in the files that `autoseg_predict` has for them. One case after the other is streamed: memory
    holds about ten bytes a voxel, whatever the number of classes and members. A case that is not in all folders, or that
    cannot be averaged, is noted in the report and does not stop the others. With `skip_existing` those are left whose files
    are whole and come from the same members. The report is also written to `output`/ensemble.json.

    Raises PredictionError where folders hold different classes, where none of their cases is in all of them, and for
    weights that do not fit; UnknownNameError for a rule or a class that the folders do not have.
    """
    start, output = time.monotonic(), Path(output)
    sources = open_sources(folders, weights, output=output)
    labels = sources[0].report.labels
    for rule in rules:
        values_of(rule.structure, labels)
    ids = case_ids(sources)
    thresholds_of(rules, labels)
    report = empty_report(sources, rules, kept_classes(beside, labels))
    refuse_unwritable(output, remedy="Choose another folder with -o DIR.")
    known, report = earlier_cases(output, report) if skip_existing else ({}, report)
    kinds, job = wanted_kinds(beside, has_variance=True), _Job(sources, output, rules, beside)
    done: dict[str, CasePrediction] = {}
    for id_ in progress.track(ids, description="averaging", total=len(ids)):
        before = known.get(id_)
        if before is not None and is_whole(before, output, kinds):
            done[id_] = before.model_copy(update={"skipped": True})
        else:
            done[id_] = job.done(id_)
        if on_case is not None:
            on_case(done[id_])
        seconds = round(time.monotonic() - start, 3)
        report = report.model_copy(update={"cases": tuple(done.values()), "seconds": seconds})
        save(report, output / ENSEMBLE_FILE)
    if beside.uncertainty:
        report = report.model_copy(update={"review": review_of(report.cases)})
        save(report, output / ENSEMBLE_FILE)
        write_table(report.cases, output / UNCERTAINTY_FILE)
    return report


@dataclass(frozen=True)
class _Job:
    """What is done to each case."""

    sources: Sequence[Source]
    output: Path
    rules: Sequence[Rule]
    beside: Beside

    def done(self, id_: str) -> CasePrediction:
        """The files of a case, written, and its report; or the failure to report."""
        try:
            found = self._averaged(id_)
            # The label map's own header: that of a two-dimensional file with several volumes is another.
            before = self.sources[0].label_file(id_)
            geometry = read_header(before).geometry
            file, scheme = self.output / before.name, self.sources[0].report.labels
            return write_case(id_, file, found, geometry, scheme=scheme, rules=self.rules)
        except (AutosegError, MemoryError) as error:
            return failed(Case(id=id_, images=()), error)

    def _averaged(self, id_: str) -> Prediction:
        start, labels = time.monotonic(), self.sources[0].report.labels
        files = tuple(source.probability_file(id_) for source in self.sources)
        case = SavedCase(files, tuple(source.share for source in self.sources), labels)
        classes = decided(case, thresholds_of(self.rules, labels))
        maps, tally = beside_of(case, classes, self.beside, folder=self.output)
        values: NDArray[np.integer] = labels.decode(classes.reshape(case.shape))
        return Prediction(values, {"average": time.monotonic() - start}, None, maps, tally)
