"""What predicts when nobody names a model: the selection, as long as its models are what they were."""

from dataclasses import dataclass
from pathlib import Path

from autoseg.artefacts import load
from autoseg.errors import SelectionError
from autoseg.prediction.postprocessing import Rule
from autoseg.selection.selection import Selection
from autoseg.training.model_folder import CARD_FILE, finished_folds, open_model
from autoseg.training.previous_stage import folds_digest
from autoseg.workspace import DatasetFolder


@dataclass(frozen=True)
class Chosen:
    """Model folders that predict together, their folds (none: all trained), and what corrects their label maps."""

    models: tuple[Path, ...]
    folds: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()

    def __str__(self) -> str:
        models = " and ".join(model.name for model in self.models)
        return "; ".join([f"{models}, folds {', '.join(self.folds)}", *map(str, self.rules)])


def selected(folder: DatasetFolder) -> Chosen:
    """What `autoseg_select` chose for a data set.

    Raises SelectionError when a fold of it is gone or was trained anew since, ArtefactError for a damaged file.
    """
    selection = load(Selection, folder.selection_file, remake="autoseg_select")
    again = f"Select again: autoseg_select -d {selection.dataset}, or name a model with -m."
    models = [folder.path / model for model in selection.models]
    for path in models:
        if not (path / CARD_FILE).is_file():
            raise SelectionError(f"{folder.selection_file}: chose {path.name}, which is not there any more. {again}")
        model = open_model(path)
        gone = sorted(set(selection.folds) - set(finished_folds(path)))
        if gone:
            raise SelectionError(f"{folder.selection_file}: fold {gone[0]} of {path.name} is not there any more. {again}")
        for fold in selection.folds:
            if selection.made_from.get(f"{model.card.name} fold {fold}") != folds_digest(model, [fold]):
                raise SelectionError(f"{folder.selection_file}: fold {fold} of {path.name} was trained anew since. {again}")
    return Chosen(tuple(models), selection.folds, selection.rules)
