"""The cases to view: which files belong together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from autoseg.data.labels import LabelScheme
from autoseg.data.readers import image_stem, is_image
from autoseg.errors import ViewerError, listed
from autoseg.evaluation.evaluate import Evaluation
from autoseg.evaluation.pairing import Files, label_files
from autoseg.prediction.report import PredictionReport

UNCERTAINTY = "uncertainty"


@dataclass(frozen=True)
class ViewCase:
    """One case: its image files (one a channel, or one with all), label maps, and maps of uncertainty by name."""

    id: str
    images: tuple[Path, ...] = ()
    prediction: Path | None = None
    reference: Path | None = None
    maps: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Collection:
    """What a page shows: cases by id in their order, names of the channels and labels where they are known.

    `evaluation` holds the scores that are stored for the predictions, `report` what their run left behind; `notes` what the
    user should know of all this.
    """

    title: str
    cases: tuple[ViewCase, ...]
    channels: tuple[str, ...] = ()
    scheme: LabelScheme | None = None
    evaluation: Evaluation | None = None
    report: PredictionReport | None = None
    notes: tuple[str, ...] = ()

    def case(self, case_id: str) -> ViewCase | None:
        """The case with this id; None for an unknown one."""
        return next((case for case in self.cases if case.id == case_id), None)

    def with_predictions(self, files: Files) -> "Collection":
        """The collection with predictions by case id; cases that were not there before come to the others."""
        known = self._with_cases(files)
        return self._of(replace(case, prediction=files.get(case.id, case.prediction)) for case in known)

    def with_references(self, files: Files) -> "Collection":
        """The collection with references by case id; cases that were not there before come to the others."""
        known = self._with_cases(files)
        return self._of(replace(case, reference=files.get(case.id, case.reference)) for case in known)

    def with_maps(self, maps: Mapping[str, Mapping[str, Path]]) -> "Collection":
        """The collection with maps of uncertainty, by case id and name."""
        return self._of(replace(case, maps={**case.maps, **maps.get(case.id, {})}) for case in self.cases)

    def only(self, ids: Iterable[str]) -> "Collection":
        """The collection without the cases that are not among `ids`."""
        wanted = set(ids)
        return self._of(case for case in self.cases if case.id in wanted)

    def _with_cases(self, ids: Iterable[str]) -> tuple[ViewCase, ...]:
        known = {case.id for case in self.cases}
        return (*self.cases, *(ViewCase(one) for one in ids if one not in known))

    def _of(self, cases: Iterable[ViewCase]) -> "Collection":
        return replace(self, cases=tuple(sorted(cases, key=lambda case: case.id)))


def files_by_case(path: Path, *, what: str, ids: Sequence[str]) -> Files:
    """The label maps at `path`, by case id: those of a folder under their names, a single file as that of the only case.

    `what` names their role in messages. Raises EvaluationError for a folder without any, and ViewerError for a file that
    belongs to none of several cases.
    """
    if not path.is_file():
        return label_files(path, what=what)
    if not is_image(path):
        raise ViewerError(f"{what}: {path} is no image. Give a label map, or a folder with one for each case.")
    stem = image_stem(path)
    if len(ids) == 1 or not ids:
        return {ids[0] if ids else stem: path}
    if stem not in ids:
        raise ViewerError(
            f"{what}: {path.name} belongs to none of the {len(ids)} cases ({', '.join(ids[:5])}). Name it after its case."
        )
    return {stem: path}


def refuse_strangers(files: Files, ids: Sequence[str], *, what: str, others: str) -> None:
    """Raise ViewerError when no file is called like any of the cases `ids`, where there are cases."""
    if ids and files and not set(files) & set(ids):
        raise ViewerError(
            f"no case is on both sides: {what} are {listed(sorted(files))}; {others} are {listed(sorted(ids))}. "
            "Give files of the same case the same name (endings may differ)."
        )


def maps_by_case(path: Path, *, ids: Sequence[str]) -> dict[str, dict[str, Path]]:
    """Maps of uncertainty at `path` by case id and name: CASE.nii.gz, CASE_entropy.nii.gz, ..., here or one folder below.

    A single file is that of the only case. Raises ViewerError where there is nothing of any case.
    """
    if path.is_file() and is_image(path) and len(ids) == 1:
        return {ids[0]: {_name_of_map(image_stem(path), ids[0]): path}}
    if not path.exists():
        raise ViewerError(
            f"uncertainty: {path}: not found. Give a folder with CASE_entropy.nii.gz, or such a file, with -u."
        )
    found: dict[str, dict[str, Path]] = {}
    for file in [path] if path.is_file() else _images_below(path):
        stem = image_stem(file)
        case_id = case_of_map(stem, ids)
        if case_id is not None:
            found.setdefault(case_id, {})[_name_of_map(stem, case_id)] = file
    if not found:
        raise ViewerError(
            f"uncertainty: no file in {path} is called like a case ({listed(sorted(ids))}), as in CASE_entropy.nii.gz."
        )
    return found


def case_of_map(stem: str, ids: Iterable[str]) -> str | None:
    """The case that a file with this name belongs to: the longest id it is, or begins with; None for none."""
    return max((one for one in ids if stem == one or stem.startswith((f"{one}_", f"{one}-"))), key=len, default=None)


def _name_of_map(stem: str, case_id: str) -> str:
    return stem.removeprefix(case_id).lstrip("_-") or UNCERTAINTY


def _images_below(folder: Path) -> list[Path]:
    within = sorted(folder.iterdir())
    folders = [folder, *(one for one in within if one.is_dir() and not one.name.startswith("."))]
    return [file for one in folders for file in sorted(one.iterdir()) if file.is_file() and is_image(file)]
