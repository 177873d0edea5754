"""Which prediction belongs to which reference."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autoseg.data.dataset import Dataset
from autoseg.data.readers import READERS, image_stem, is_image
from autoseg.errors import EvaluationError, listed
from autoseg.prediction.files import is_map

Files = Mapping[str, Path]
"""Label files by case id."""


@dataclass(frozen=True)
class Pairing:
    """Predictions and references of the same cases, and the ids that only one side has."""

    pairs: tuple[tuple[str, Path, Path], ...]
    extra: tuple[str, ...]
    missing: tuple[str, ...]


def label_files(folder: Path, *, what: str) -> Files:
    """The label files in `folder` by case id (the file name without its ending), sorted; other files are passed over.

    So are maps that predictions have beside them (probabilities, entropy, variance).

    `what` names their role in messages ("predictions", "references"). Raises EvaluationError when there is no folder, no
    label file in it, or two files for one case.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{what}: {folder} is no folder. Expected a folder with one label file for each case.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not (is_image(path) and path.is_file()):
            continue
        case_id = image_stem(path)
        if case_id in found:
            raise EvaluationError(f"{what}: {found[case_id]} and {path.name} are both case {case_id}. Remove one of them.")
        found[case_id] = path
    found = {id_: path for id_, path in found.items() if not is_map(id_, found)}
    if not found:
        raise EvaluationError(
            f"{what}: no label file in {folder} itself (expected a file for each case, ending in "
            f"{', '.join(READERS)}). "
            "References in folders of their own, as BraTS has them, are found with -d DATASET instead of -r."
        )
    return found


def dataset_references(dataset: Dataset, predicted: Iterable[str], *, whole: bool = True) -> Files:
    """The label files of a data set that `predicted` cases should be held against.

    Training and test cases are two groups: the whole of each group of which a case was predicted, or, unless `whole`, the
    predicted cases alone. Raises EvaluationError when the data set has labels for none of the predicted cases.
    """
    wanted = set(predicted)
    groups = [
        {case.id: path for case in cases if (path := case.label_path(dataset.folder)) is not None}
        for cases in (dataset.cases, dataset.test_cases)
    ]
    touched = {case_id: path for group in groups if wanted & set(group) for case_id, path in group.items()}
    if not whole:
        touched = {case_id: path for case_id, path in touched.items() if case_id in wanted}
    if not touched:
        raise EvaluationError(
            f"data set {dataset.name} has no labels for the predicted cases ({listed(sorted(wanted))}). "
            "Name a folder with their references with -r."
        )
    return touched


def references_of(dataset: Dataset, ids: Collection[str]) -> Files:
    """The label files of these training cases; a case that has none is left out."""
    found = {case.id: case.label_path(dataset.folder) for case in dataset.cases if case.id in ids}
    return {id_: path for id_, path in found.items() if path is not None}


def match(predictions: Files, references: Files, *, allow_missing: bool) -> Pairing:
    """The pairs of equal case id, sorted.

    A prediction without a reference is only noted. Raises EvaluationError naming the references without a prediction,
    unless `allow_missing`, and when no case is on both sides.
    """
    both = sorted(set(predictions) & set(references))
    missing = sorted(set(references) - set(predictions))
    if not both:
        raise EvaluationError(
            f"no case is on both sides: predictions are {listed(sorted(predictions))}; references are {listed(missing)}. "
            "A prediction must have the file name of its reference (endings may differ)."
        )
    if missing and not allow_missing:
        raise EvaluationError(
            f"{len(missing)} of {len(references)} references have no prediction: {listed(missing)}. "
            "Predict them, or leave them out of the evaluation with --allow-missing."
        )
    return Pairing(
        pairs=tuple((case_id, predictions[case_id], references[case_id]) for case_id in both),
        extra=tuple(sorted(set(predictions) - set(references))),
        missing=tuple(missing),
    )
