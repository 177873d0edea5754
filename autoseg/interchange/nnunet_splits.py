"""Which cases nnU-Net trained each fold on: its splits_final.json, and the predictions of the cases that were held out."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from autoseg.artefacts import describe
from autoseg.data.layouts.dataset_json import read_json
from autoseg.data.readers import image_stem, is_image
from autoseg.data.splits import Fold, Splits
from autoseg.errors import ArtefactError

SPLITS_FILE = "splits_final.json"
PREPROCESSED = "nnUNet_preprocessed"
"""The variable that says where nnU-Net keeps a data set's splits."""
VALIDATION = "validation"


class _Entry(BaseModel):
    """A fold as nnU-Net writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    train: tuple[str, ...]
    val: tuple[str, ...]


_ENTRIES = TypeAdapter(tuple[_Entry, ...])


def splits_beside(folder: Path, dataset: str) -> Path | None:
    """The splits_final.json of a model folder of nnU-Net: in it, in that of its data set, or where it was preprocessed."""
    places = [folder, folder.absolute().parent]
    preprocessed = os.environ.get(PREPROCESSED)
    if preprocessed:
        places.append(Path(preprocessed) / dataset)
    return next((place / SPLITS_FILE for place in places if (place / SPLITS_FILE).is_file()), None)


def read_splits(file: Path) -> Splits:
    """The splits in a splits_final.json.

    Raises ArtefactError for another content, and for a fold that is trained on a case it is validated on.
    """
    if not file.is_file():
        raise ArtefactError(f"{file}: not found. nnU-Net keeps {SPLITS_FILE} in {PREPROCESSED}/DATASET.")
    entries = _entries(read_json(file), file)
    for index, entry in enumerate(entries):
        both = sorted(set(entry.train) & set(entry.val))
        if both:
            raise ArtefactError(
                f"{file}: fold {index}: case {both[0]} is both trained and validated on; its validation would say nothing. "
                "Give the splits that the model was trained with."
            )
    return Splits(folds=tuple(Fold(train=tuple(sorted(one.train)), validation=tuple(sorted(one.val))) for one in entries))


def _entries(content: Any, file: Path) -> tuple[_Entry, ...]:
    try:
        found = _ENTRIES.validate_python(content)
    except ValidationError as error:
        raise ArtefactError(f'{file}: {describe(error)}. Expected a list of {{"train": [ids], "val": [ids]}}.') from error
    if not found:
        raise ArtefactError(f'{file}: no fold. Expected a list of {{"train": [ids], "val": [ids]}}.')
    return found


def held_out_predictions(fold: Path, ids: Sequence[str]) -> dict[str, Path]:
    """nnU-Net's own label maps of the cases that a fold held out, by id; empty where one of them is missing."""
    folder = fold / VALIDATION
    if not (ids and folder.is_dir()):
        return {}
    files = {image_stem(path): path for path in sorted(folder.iterdir()) if is_image(path) and path.is_file()}
    return {id_: files[id_] for id_ in ids} if set(ids) <= set(files) else {}


def take_over_predictions(fold: Path, ids: Sequence[str], target: Path) -> None:
    """Copy the label maps of held-out cases to the folder `target`, if all of them are there."""
    found = held_out_predictions(fold, ids)
    if found:
        target.mkdir(parents=True)
    for path in found.values():
        shutil.copyfile(path, target / path.name)
