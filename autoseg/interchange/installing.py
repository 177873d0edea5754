"""Putting a model folder into a workspace: whole or not at all, and never over another one unasked."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autoseg.artefacts import load, refuse_unwritable
from autoseg.errors import ArtefactError, WorkspaceError
from autoseg.prediction.ensemble import is_model_folder
from autoseg.training.model_folder import CARD_FILE, FOLD_FILE, IMPORTED, FoldCard, ModelCard, open_model
from autoseg.workspace import DatasetFolder


@dataclass(frozen=True)
class Installed:
    """A model in the workspace. `was_there`: it had been imported before, from the very same files.

    `notes` say what was decided on the user's behalf.
    """

    path: Path
    name: str
    dataset: str
    configuration: str
    folds: tuple[str, ...]
    was_there: bool
    notes: tuple[str, ...] = ()


def install(
    folder: DatasetFolder,
    name: str,
    *,
    source: str,
    fill: Callable[[Path], None],
    overwrite: bool = False,
    notes: tuple[str, ...] = (),
) -> Installed:
    """The model `name` of a data set, made by `fill`, which writes its files into the empty folder it is given.

    `source` is a digest of what it is made from; a model from the same source is left as it is. The folder appears
    complete or not at all. Raises WorkspaceError when another model of that name is there, unless `overwrite`.
    """
    target = folder.model(name)
    was_there = not overwrite and _is_whole(target, source)
    if not was_there:
        if target.exists() and not overwrite:
            raise WorkspaceError(
                f"{target}: a model of this name is there already, made from something else. Choose another name with "
                "--name, or replace it with --overwrite."
            )
        refuse_unwritable(folder.models, remedy="Choose another workspace with -w DIR.")
        _write(target, fill)
    found = open_model(target)
    return Installed(
        path=target,
        name=name,
        dataset=folder.path.name,
        configuration=found.configuration.name,
        folds=found.folds,
        was_there=was_there,
        notes=notes,
    )


def _write(target: Path, fill: Callable[[Path], None]) -> None:
    # Beside the folder of models, so that nobody takes an unfinished one for a model.
    with tempfile.TemporaryDirectory(dir=target.parent.parent, prefix=".importing-") as place:
        draft, replaced = Path(place) / "new", Path(place) / "old"
        draft.mkdir()
        fill(draft)
        try:
            if target.exists():
                target.rename(replaced)
            draft.rename(target)
        except OSError as error:
            raise WorkspaceError(
                f"{target}: cannot be written ({error.strerror}). Choose another name with --name."
            ) from error
        shutil.rmtree(replaced, ignore_errors=True)


def _is_whole(path: Path, source: str) -> bool:
    """Whether the model at `path` was made from `source` and nothing of it is missing."""
    if not is_model_folder(path):
        return False
    try:
        card = load(ModelCard, path / CARD_FILE, remake="autoseg_import")
        cards = [load(FoldCard, file, remake="autoseg_import") for file in path.glob(f"fold_*/{FOLD_FILE}")]
        folds = open_model(path).folds
    except ArtefactError:
        return False
    return card.made_from.get(IMPORTED) == source and set(folds) == {card.fold for card in cards}
