"""Folders of saved probabilities as the members of an ensemble, and what combining them leaves behind."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN, load
from autoseg.data.labels import LabelScheme
from autoseg.errors import ArtefactError, PredictionError, listed, number_of
from autoseg.prediction.agreeing import shares
from autoseg.prediction.beside import channel_names, scheme_text
from autoseg.prediction.postprocessing import Rule
from autoseg.prediction.report import DECISIVE, REPORT_FILE, CasePrediction, PredictionReport, failures

ENSEMBLE_FILE = "ensemble.json"
REMAKE = "autoseg_predict -i IN -o OUT --probabilities"


class EnsembleMember(BaseModel):
    """A folder of probabilities: its models, what it counts (of 1), and the digest of models and settings it comes from."""

    model_config = FROZEN
    folder: str
    models: tuple[str, ...]
    folds: tuple[str, ...]
    share: float
    digest: str


class EnsembleReport(BaseModel):
    """What was averaged, and each case. Members stand in the order of their digests, whatever order they were given in.

    `made_from` maps "members" to a digest of all their digests and shares, `rules` say how label maps were corrected.
    `classes` are the volumes of the probabilities in their order (empty where they were not asked for). `review` gives the
    reasons why a case should be looked at.
    """

    model_config = FROZEN
    members: tuple[EnsembleMember, ...]
    labels: LabelScheme
    rules: tuple[str, ...]
    classes: tuple[str, ...] = ()
    seconds: float
    cases: tuple[CasePrediction, ...]
    review: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    made_from: dict[str, str]

    @property
    def failed(self) -> tuple[CasePrediction, ...]:
        """The cases without a label map."""
        return failures(self.cases)


@dataclass(frozen=True, eq=False)
class Source:
    """A folder of predictions with probabilities, as one member of an ensemble."""

    folder: Path
    report: PredictionReport
    share: float
    digest: str

    def case(self, id_: str) -> CasePrediction:
        """What the folder holds of a case. Raises PredictionError, saying why, where it has no probabilities of it."""
        found = next((case for case in self.report.cases if case.id == id_), None)
        again = f"Predict it into that folder: {REMAKE}"
        if found is None:
            raise PredictionError(f"case {id_}: missing in {self.folder}. {again}")
        if found.error is not None:
            raise PredictionError(f"case {id_}: missing in {self.folder}, where it failed ({found.error}). {again}")
        if found.probabilities is None:
            raise PredictionError(f"case {id_}: {self.folder} holds its label map, but no probabilities. {again}")
        return found

    def probability_file(self, id_: str) -> Path:
        """The probabilities of a case. Raises PredictionError where they are not there."""
        return self._there(str(self.case(id_).probabilities))

    def label_file(self, id_: str) -> Path:
        """The label map of a case. Raises PredictionError where it is not there."""
        return self._there(str(self.case(id_).file))

    def _there(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise PredictionError(f"{path}: not found, though {REPORT_FILE} names it. Predict the case again: {REMAKE}")
        return path


def open_sources(folders: Sequence[Path | str], weights: Sequence[float] | None, *, output: Path) -> list[Source]:
    """The members, in the order of their digests.

    Raises PredictionError for less than two folders, one that is named twice or is the output, classes that differ, and
    weights that do not fit; ArtefactError for a folder without a report of predictions.
    """
    paths = [Path(folder) for folder in folders]
    if len(paths) < 2:
        raise PredictionError(
            f"found {number_of(len(paths), 'folder')}: an ensemble has two members at least. Name their folders."
        )
    seen = [path.resolve() for path in paths]
    for path, place in zip(paths, seen, strict=True):
        if seen.count(place) > 1:
            raise PredictionError(f"{path} is named twice. To count it more, give it a larger weight with --weights.")
        if place == output.resolve():
            raise PredictionError(
                f"{output} holds a member, whose label maps would be overwritten. Choose another with -o."
            )
    counted = shares(weights, len(paths))
    found = [_opened(path, share) for path, share in zip(paths, counted, strict=True)]
    for source in found[1:]:
        _refuse_other_classes(found[0], source)
    return sorted(found, key=lambda source: (source.digest, source.share, str(source.folder)))


def _opened(folder: Path, share: float) -> Source:
    if not folder.is_dir():
        raise PredictionError(f"{folder}: no such folder. Expected one that {REMAKE} has written.")
    if (folder / ENSEMBLE_FILE).is_file() and not (folder / REPORT_FILE).is_file():
        raise PredictionError(
            f"{folder}: holds an ensemble. Name the folders that it was made of, with --weights where it had some."
        )
    report = load(PredictionReport, folder / REPORT_FILE, remake=REMAKE)
    names = channel_names(report.labels)
    if report.classes != names:
        kept = f"the probabilities of {', '.join(report.classes)} alone" if report.classes else "no probabilities"
        raise PredictionError(
            f"{folder}: holds {kept}; expected those of {', '.join(names)}. Make them with: {REMAKE}, without --classes."
        )
    decisive = report.model_dump_json(include=DECISIVE)
    return Source(folder, report, share, hashlib.sha256(decisive.encode()).hexdigest()[:16])


def _refuse_other_classes(first: Source, other: Source) -> None:
    if first.report.labels != other.report.labels:
        raise PredictionError(
            f"{first.folder} holds {scheme_text(first.report.labels)}; {other.folder} holds "
            f"{scheme_text(other.report.labels)}. Only predictions of the same classes can be averaged."
        )


def case_ids(sources: Sequence[Source]) -> list[str]:
    """The cases of all members together, sorted. Raises PredictionError where none is in all of them."""
    ids = [{case.id for case in source.report.cases} for source in sources]
    if not set.intersection(*ids):
        held = [
            f"{source.folder} holds {listed(sorted(some), most=3) or 'nothing'}"
            for source, some in zip(sources, ids, strict=True)
        ]
        raise PredictionError(
            f"no case is in all folders: {'; '.join(held)}. Only predictions of the same images can be averaged."
        )
    return sorted(set.union(*ids))


def empty_report(sources: Sequence[Source], rules: Sequence[Rule], classes: tuple[str, ...] = ()) -> EnsembleReport:
    """The report before the first case."""
    made_from = " ".join(f"{source.digest} {source.share!r}" for source in sources)
    return EnsembleReport(
        members=tuple(
            EnsembleMember(
                folder=str(source.folder),
                models=source.report.models,
                folds=source.report.folds,
                share=source.share,
                digest=source.digest,
            )
            for source in sources
        ),
        labels=sources[0].report.labels,
        rules=tuple(str(rule) for rule in rules),
        classes=classes,
        seconds=0.0,
        cases=(),
        made_from={"members": hashlib.sha256(made_from.encode()).hexdigest()[:16]},
    )


def earlier_cases(output: Path, report: EnsembleReport) -> tuple[dict[str, CasePrediction], EnsembleReport]:
    """The cases that an earlier run has written from the same members with the same rules, by id.

    Where probabilities are wanted, it wrote those of the same classes. The report says which are there.
    """
    try:
        found = load(EnsembleReport, output / ENSEMBLE_FILE, remake="autoseg_ensemble")
    except ArtefactError:
        return {}, report
    if (found.made_from, found.rules) != (report.made_from, report.rules):
        return {}, report
    if report.classes and report.classes != found.classes:
        return {}, report
    whole = {case.id: case for case in found.cases if case.error is None}
    return whole, report.model_copy(update={"classes": found.classes})
