"""What is done to each case: read and prepared, segmented, written; and the cases of one process one after the other."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from autoseg.data.dataset import Case
from autoseg.data.image import Geometry
from autoseg.errors import AutosegError
from autoseg.prediction.absent import read_present
from autoseg.prediction.beside import NOTHING, Beside
from autoseg.prediction.inputs import prediction_ending
from autoseg.prediction.postprocessing import Rule
from autoseg.prediction.predictor import Prediction, Predictor
from autoseg.prediction.report import CasePrediction
from autoseg.prediction.thresholds import thresholds_of
from autoseg.prediction.writing import write_case
from autoseg.preprocessing.case import Prepared
from autoseg.progress import SILENT, Progress

READING_VOLUMES = 4
"""Reading and preparing a case takes about so many times the prepared image, at its peak."""

logger = logging.getLogger(__name__)


def label_file(output: Path, case: Case) -> Path:
    """Where the prediction of a case is written."""
    return output / f"{case.id}{prediction_ending(Path(case.images[0]))}"


@dataclass(frozen=True, eq=False)
class _Ready:
    """A case that has been read and prepared."""

    prepared: list[Prepared]
    geometry: Geometry
    seconds: dict[str, float]
    absent: tuple[str, ...]

    @property
    def bytes(self) -> int:
        return max(case.image.nbytes for case in self.prepared)


@dataclass(frozen=True, eq=False)
class CaseJob:
    """A predictor, the rules that correct its label maps, and where they go with what is wanted beside them.

    Image paths of cases are absolute.
    """

    predictor: Predictor
    output: Path
    beside: Beside = NOTHING
    rules: tuple[Rule, ...] = ()

    def predict(self, case: Case, *, progress: Progress = SILENT) -> CasePrediction:
        """One case from its files to the file of its prediction, or the failure to report."""
        reading: Future[_Ready] = Future()
        try:
            reading.set_result(self.read(case))
        except Exception as error:
            return failed(case, error)
        return self.segment(case, reading, progress, reads_ahead=False)()

    def pipeline(self, cases: Sequence[Case], progress: Progress) -> Iterator[CasePrediction]:
        """The finished cases in order. At any time one is read, one is in the networks and one is written."""
        with ThreadPoolExecutor(1, "read") as reader:
            yield from written_behind(
                self.segment(case, reading, progress, reads_ahead=case is not cases[-1])
                for case, reading in _one_ahead(reader, self.read, cases)
            )

    def read(self, case: Case) -> _Ready:
        """The case prepared for the networks. Raises what is wrong with its files."""
        start = time.monotonic()
        predictor = self.predictor
        image, absent = read_present(case, channels=predictor.channels, may_lack=predictor.may_lack_channels)
        middle = time.monotonic()
        prepared = predictor.prepare(image)
        return _Ready(prepared, image.geometry, {"read": middle - start, "prepare": time.monotonic() - middle}, absent)

    def segment(
        self, case: Case, reading: "Future[_Ready]", progress: Progress, *, reads_ahead: bool
    ) -> Callable[[], CasePrediction]:
        """Run the networks; returns what is left to do, or the failure to report."""
        try:
            ready = reading.result()
            found = self.predictor.decide(
                ready.prepared,
                beside=self.beside,
                thresholds=thresholds_of(self.rules, self.predictor.labels),
                scratch=self.output,
                progress=progress,
                description=case.id,
                reserve=READING_VOLUMES * ready.bytes if reads_ahead else 0,
            )
        except Exception as error:
            return partial(failed, case, error)
        return partial(self._write, case, found, ready)

    def _write(self, case: Case, found: Prediction, ready: _Ready) -> CasePrediction:
        """Write what was found; the report of the case, or the failure to report."""
        try:
            return self.write(case, found, ready.geometry, seconds=ready.seconds, absent=ready.absent)
        except Exception as error:
            return failed(case, error)

    def write(
        self,
        case: Case,
        found: Prediction,
        geometry: Geometry,
        *,
        seconds: Mapping[str, float] | None = None,
        absent: tuple[str, ...] = (),
    ) -> CasePrediction:
        """Write what was found on the grid of the image; the report of the case. `seconds` are of what was done before."""
        return write_case(
            case.id,
            label_file(self.output, case),
            found,
            geometry,
            scheme=self.predictor.labels,
            rules=self.rules,
            seconds=seconds or {},
            absent=absent,
        )


def written_behind(cases: Iterable[Callable[[], CasePrediction]]) -> Iterator[CasePrediction]:
    """What each of `cases` gives when it is called, in order; one is called while the next is being made."""
    with ThreadPoolExecutor(1, "write") as writer:
        writing: Future[CasePrediction] | None = None
        for write in cases:
            if writing is not None:
                yield writing.result()
            writing = writer.submit(write)
        if writing is not None:
            yield writing.result()


def failed(case: Case, error: BaseException) -> CasePrediction:
    """The report of a case that could not be predicted; through a bug, too: one odd file must not cost the others."""
    if isinstance(error, AutosegError):
        message = str(error)
    elif isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        message = "not enough memory; close other programs or use --device cpu"
    else:
        logger.error("case %s", case.id, exc_info=error)
        message = (
            f"a fault of autoseg, not of your input ({type(error).__name__}: {error}). Please report what stands above."
        )
    is_named = any(name in message for name in (f"case {case.id}:", *(Path(image).name for image in case.images)))
    return CasePrediction(
        id=case.id,
        file=None,
        probabilities=None,
        skipped=False,
        seconds={},
        volumes_ml={},
        way=None,
        error=message if is_named else f"case {case.id}: {message}",
    )


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
