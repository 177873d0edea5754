"""Taking a model from a file into a workspace."""

import shutil
import tempfile
from pathlib import Path

from autoseg.artefacts import load, save
from autoseg.errors import ArtefactError
from autoseg.interchange.archive import MODEL, PREVIOUS, unpack
from autoseg.interchange.file_digest import file_digest
from autoseg.interchange.installing import Installed, install
from autoseg.interchange.trust import check_model
from autoseg.training.model_folder import CARD_FILE, IMPORTED, ModelCard, open_model
from autoseg.training.previous_stage import PREVIOUS_FILE, PreviousStage, folds_digest
from autoseg.workspace import Workspace


def import_archive(
    file: Path, workspace: Workspace, *, name: str | None = None, dataset: str | None = None, overwrite: bool = False
) -> list[Installed]:
    """The model in `file` as the model `name` (default: its own) of `dataset` (default: its own).

    A cascade brings its first stage as NAME_CONFIGURATION, which then stands first in the result. Everything is unpacked
    and checked beside the workspace's models before the first of them appears. Raises ArtefactError for a file that is
    damaged or holds anything but a model, WorkspaceError when another model of that name is there.
    """
    source = file_digest(file)[:16]
    with tempfile.TemporaryDirectory(dir=workspace.root, prefix=".importing-") as place:
        manifest = unpack(file, Path(place))
        model, first = Path(place) / MODEL, Path(place) / PREVIOUS
        check_model(model, source=file)
        stage = _first_stage(model, first, file)
        name, folder = name or manifest.name, workspace.dataset(dataset or manifest.dataset)
        found = []
        if stage is not None:
            first_name = f"{name}_{stage.configuration}"
            _rename(first, name=first_name, dataset=folder.path.name, source=source)
            save(stage.model_copy(update={"model": f"../{first_name}"}), model / PREVIOUS_FILE)
            found.append(
                install(folder, first_name, source=source, fill=lambda new: _move(first, new), overwrite=overwrite)
            )
        _rename(model, name=name, dataset=folder.path.name, source=source)
        found.append(install(folder, name, source=source, fill=lambda new: _move(model, new), overwrite=overwrite))
        return found


def _first_stage(model: Path, first: Path, file: Path) -> PreviousStage | None:
    """What a second stage says of its first one, which is compared with what came with it."""
    wanted = open_model(model).configuration.previous_stage
    refers, brings = (model / PREVIOUS_FILE).exists(), first.exists()
    if not (refers == brings == (wanted is not None)):
        raise ArtefactError(
            f"{file}: a model of two stages needs both, and one of a single stage no other. Export it anew."
        )
    if wanted is None:
        return None
    check_model(first, source=file)
    stage = load(PreviousStage, model / PREVIOUS_FILE, remake="autoseg_export")
    found = open_model(first)
    if found.configuration.previous_stage is not None:
        raise ArtefactError(f"{file}: its first stage is itself a second stage; cascades of two stages are known.")
    if not set(stage.folds) <= set(found.folds) or folds_digest(found, stage.folds) != stage.digest:
        raise ArtefactError(f"{file}: its first stage is not the one that the second was trained on. Export it anew.")
    return stage


def _rename(model: Path, *, name: str, dataset: str, source: str) -> None:
    card = load(ModelCard, model / CARD_FILE, remake="autoseg_export")
    made_from = {**card.made_from, IMPORTED: source}
    save(card.model_copy(update={"name": name, "dataset": dataset, "made_from": made_from}), model / CARD_FILE)


def _move(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        shutil.move(entry, target / entry.name)
