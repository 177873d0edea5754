"""Models of nnU-Net as models of this package."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from autoseg.artefacts import save
from autoseg.data.splits import Splits
from autoseg.errors import ArtefactError
from autoseg.interchange.installing import Installed, install
from autoseg.interchange.nnunet_checkpoint import read_checkpoint
from autoseg.interchange.nnunet_folder import NnunetModel, Source, previous_folder, read_folder
from autoseg.interchange.nnunet_weights import renamed
from autoseg.training.checkpoint import save_weights
from autoseg.training.model_folder import (
    FOLD_FILE,
    IMPORTED,
    FoldCard,
    ModelCard,
    fold_folder,
    open_model,
    weights_file,
    write_model,
)
from autoseg.training.previous_stage import PREVIOUS_FILE, PreviousStage, folds_digest
from autoseg.workspace import Workspace


def import_nnunet(
    folder: Path,
    workspace: Workspace,
    *,
    name: str | None = None,
    dataset: str | None = None,
    previous: Path | None = None,
    overwrite: bool = False,
) -> list[Installed]:
    """The model in nnU-Net's `folder` as the model `name` (default: as nnU-Net calls the configuration, with "nnunet_").

    It becomes a model of the data set that nnU-Net names, or of `dataset`. A cascade brings the stage that it refines,
    from the folder beside it or from `previous`, as NAME_CONFIGURATION; that one stands first in the result. Nothing
    pickled is run. Raises what `read_folder` and `install` do, and ArtefactError where a cascade's first stage is not
    found.
    """
    model = read_folder(folder, dataset=dataset)
    name = name or f"nnunet_{model.configuration.name}"
    first: list[Installed] = []
    if model.configuration.previous_stage is not None:
        first = import_nnunet(
            _first_stage(model, previous),
            workspace,
            name=f"{name}_{model.configuration.previous_stage}",
            dataset=model.plan.dataset,
            overwrite=overwrite,
        )
        _check_first_stage(first[-1], model)
    place = workspace.dataset(model.plan.dataset)
    found = install(
        place,
        name,
        source=model.digest,
        fill=lambda draft: _fill(draft, model, name=name, first=first[-1] if first else None),
        overwrite=overwrite,
        notes=model.notes,
    )
    return [*first, found]


def _first_stage(model: NnunetModel, previous: Path | None) -> Path:
    found = previous or previous_folder(model)
    if found is None:
        raise ArtefactError(
            f"{model.folder}: refines what {model.configuration.previous_stage} finds, and no model of that is beside it. "
            "Name its folder with --previous FOLDER."
        )
    return found


def _check_first_stage(first: Installed, model: NnunetModel) -> None:
    stage = open_model(first.path)
    if stage.plan.channels != model.plan.channels or stage.plan.labels != model.plan.labels:
        raise ArtefactError(f"{model.folder}: has other channels or labels than its first stage {first.name}.")
    missing = [fold for fold in stage.folds if not weights_file(stage.path, fold, "final").exists()]
    if missing:
        raise ArtefactError(f"{first.path}: fold {missing[0]} of the first stage has no checkpoint_final.pth.")


def _fill(draft: Path, model: NnunetModel, *, name: str, first: Installed | None) -> None:
    """Write everything of a model folder into `draft`."""
    made_from = {IMPORTED: model.digest}
    plan = model.plan.model_copy(update={"made_from": made_from})
    card = ModelCard(
        name=name,
        dataset=plan.dataset,
        configuration=model.configuration.name,
        autoseg_version=version("autoseg"),
        made_from=made_from,
    )
    # Which cases each fold was trained on is not kept in a model folder of nnU-Net.
    write_model(draft, plan=plan, card=card, splits=Splits(folds=()))
    if first is not None:
        save(_refined(first), draft / PREVIOUS_FILE)
    for fold in dict.fromkeys(source.fold for source in model.sources):
        _write_fold(draft, fold, [source for source in model.sources if source.fold == fold])


def _refined(first: Installed) -> PreviousStage:
    stage = open_model(first.path)
    return PreviousStage(
        model=f"../{first.name}",
        configuration=stage.configuration.name,
        folds=stage.folds,
        digest=folds_digest(stage, stage.folds),
        handed_on="labels",
    )


def _write_fold(draft: Path, fold: str, sources: Sequence[Source]) -> None:
    checkpoints = [read_checkpoint(source.path) for source in sources]
    for source, checkpoint in zip(sources, checkpoints, strict=True):
        save_weights(renamed(checkpoint.weights), weights_file(draft, fold, source.which))
    weights = renamed(checkpoints[0].weights)
    card = FoldCard(
        fold=fold,
        finished=any(source.which == "final" for source in sources),
        budget_s=None,
        device="not known",
        precision="not known",
        threads=torch.get_num_threads(),
        torch_version=torch.__version__,
        parameters=sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point()),
        epochs=checkpoints[0].epochs,
    )
    save(card, fold_folder(draft, fold) / FOLD_FILE)
