"""Which model folders the options of a command ask for."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.errors import PredictionError
from autoseg.workspace import DatasetFolder, Workspace, open_workspace

if TYPE_CHECKING:
    from autoseg.selection.chosen import Chosen


def chosen_models(workspace: Path | None, dataset: str | None, *, names: list[str], configurations: list[str]) -> "Chosen":
    """What predicts: the models asked for, else what autoseg_select chose for the data set, else its usual one."""
    from autoseg.selection.chosen import Chosen, selected

    if not names and not configurations:
        folder = _dataset_folder(open_workspace(workspace), dataset, names=names)
        if folder.selection_file.exists():
            found = selected(folder)
            told = f"taking what autoseg_select chose for {folder.path.name}: {found} (-c and -m choose another)"
            sys.stderr.write(f"{told}\n")
            return found
    return Chosen(tuple(model_folders(workspace, dataset, names=names, configurations=configurations)))


def model_folders(
    workspace: Path | None, dataset: str | None, *, names: list[str], configurations: list[str]
) -> list[Path]:
    """The model folders asked for; a workspace is needed only where some are not given as paths."""
    from autoseg.prediction.ensemble import choose_models, is_model_folder

    folders = [Path(name) for name in names if is_model_folder(Path(name))]
    if names and len(folders) == len(names) and not configurations:
        return folders
    folder = _dataset_folder(open_workspace(workspace), dataset, names=names)
    chosen = choose_models(folder, names=names, configurations=configurations)
    if not names and not configurations:
        sys.stderr.write(f"taking {chosen[0].name} of {folder.path.name} (-d, -c and -m choose another)\n")
    return chosen


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
