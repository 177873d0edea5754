"""Which model folders the options of a command ask for."""

import sys
from pathlib import Path

from autoseg.errors import PredictionError
from autoseg.workspace import DatasetFolder, Workspace, open_workspace


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
