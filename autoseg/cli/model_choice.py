"""Which model folders the options of a command ask for."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.errors import PredictionError, unknown_name
from autoseg.workspace import DatasetFolder, Workspace, open_workspace

if TYPE_CHECKING:
    from autoseg.prediction.postprocessing import Rule
    from autoseg.selection.chosen import Chosen


def chosen_models(
    workspace: Path | None,
    dataset: str | None,
    *,
    names: list[str],
    configurations: list[str],
    selection: str | None = None,
) -> "Chosen":
    """What predicts: the models asked for, else what autoseg_select chose for the data set, else its usual one.

    Label maps are corrected as `selection` says where one is named, else only where it chose the models, too.
    """
    from autoseg.selection.chosen import Chosen, selected

    rules = () if selection is None else selected_rules(selection, workspace)
    if not names and not configurations and selection is None:
        folder = _dataset_folder(open_workspace(workspace), dataset, names=names)
        if folder.selection_file.exists():
            found = selected(folder)
            told = f"taking what autoseg_select chose for {folder.path.name}: {found} (-c and -m choose another)"
            sys.stderr.write(f"{told}\n")
            return found
    return Chosen(tuple(model_folders(workspace, dataset, names=names, configurations=configurations)), rules=rules)


def selected_rules(selection: str, workspace: Path | None) -> "tuple[Rule, ...]":
    """How autoseg_select chose to correct label maps; `selection` is its file, or the name of a data set."""
    from autoseg.artefacts import load
    from autoseg.selection.selection import Selection

    file = Path(selection)
    if not file.is_file():
        file = open_workspace(workspace).chosen(selection, with_models=True).selection_file
    return load(Selection, file, remake="autoseg_select").rules


def model_folders(
    workspace: Path | None, dataset: str | None, *, names: list[str], configurations: list[str]
) -> list[Path]:
    """The model folders asked for; a workspace is needed only where some are not given as paths."""
    from autoseg.prediction.ensemble import choose_models, is_model_folder

    if names and not configurations and all(is_model_folder(Path(name)) for name in names):
        return [Path(name) for name in names]
    space = open_workspace(workspace)
    named = [str(space.located(name) or name) for name in names]
    folder = _dataset_folder(space, dataset, names=[name for name in named if not is_model_folder(Path(name))])
    if dataset is None:
        named = [_elsewhere(space, folder, name) for name in named]
    chosen = choose_models(folder, names=named, configurations=configurations)
    if not names and not configurations:
        sys.stderr.write(f"taking {chosen[0].name} of {folder.path.name} (-d, -c and -m choose another)\n")
    return chosen


def _elsewhere(space: Workspace, folder: DatasetFolder, name: str) -> str:
    """A model that `folder` has not, but one other data set has, as the path of its folder.

    Raises UnknownNameError for one that no data set has.
    """
    from autoseg.prediction.ensemble import is_model_folder

    holding = space.holding(name) if "/" not in name else []
    if is_model_folder(Path(name)) or folder.path.name in holding:
        return name
    if len(holding) > 1:
        raise PredictionError(
            f"{len(holding)} data sets have a model {name}: {', '.join(holding)}. Name it DATASET/{name}."
        )
    if not holding:
        raise unknown_name("model", name, {model for held in space.with_models() for model in space.models_of(held)})
    return str(space.dataset(holding[0]).model(name))


def _dataset_folder(space: Workspace, dataset: str | None, *, names: list[str]) -> DatasetFolder:
    """The data set asked for; without one the only one that has the first named model, else the one planned last."""
    holding = space.holding(names[0]) if names else []
    if dataset is not None or not holding:
        return space.chosen(dataset, with_models=True)
    if len(holding) == 1:
        return space.dataset(holding[0])
    current = space.chosen(None) if space.planned() else None
    if current is None or current.path.name not in holding:
        raise PredictionError(
            f"{len(holding)} data sets have a model {names[0]}: {', '.join(holding)}. Choose with -d NAME."
        )
    return current
