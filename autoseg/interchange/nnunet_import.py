"""Models of nnU-Net as models of this package."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from autoseg.artefacts import digest, save
from autoseg.data.splits import ALL, Splits
from autoseg.errors import ArtefactError
from autoseg.interchange.installing import Installed, install
from autoseg.interchange.nnunet_checkpoint import read_checkpoint
from autoseg.interchange.nnunet_folder import NnunetModel, Source, previous_folder, read_folder
from autoseg.interchange.nnunet_splits import (
    held_out_predictions,
    read_splits,
    splits_beside,
    take_over_predictions,
)
from autoseg.interchange.nnunet_weights import renamed
from autoseg.training.checkpoint import save_weights
from autoseg.training.model_folder import (
    FOLD_FILE,
    IMPORTED,
    VALIDATION_FOLDER,
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
    splits: Path | None = None,
    orientation: str | None = None,
    overwrite: bool = False,
) -> list[Installed]:
    """The model in nnU-Net's `folder` as the model `name` (default: as nnU-Net calls the configuration, with "nnunet_").

    It becomes a model of the data set that nnU-Net names, or of `dataset`. A cascade brings the stage that it refines,
    from the folder beside it or from `previous`, as NAME_CONFIGURATION; that one stands first in the result. `splits` is
    nnU-Net's splits_final.json (default: one that lies beside); with it, the predictions of held-out cases that lie in the
    folder come along. `orientation` is that of its training images, see `read_folder`. Nothing pickled is run. Raises what
    `read_folder`, `read_splits` and `install` do, and ArtefactError where a cascade's first stage is not found.
    """
    model = read_folder(folder, dataset=dataset, orientation=orientation)
    trained_on, notes = _splits(model, splits)
    name = name or f"nnunet_{model.configuration.name}"
    first: list[Installed] = []
    if model.configuration.previous_stage is not None:
        first = import_nnunet(
            _first_stage(model, previous),
            workspace,
            name=f"{name}_{model.configuration.previous_stage}",
            dataset=model.plan.dataset,
            splits=splits,
            orientation=orientation,
            overwrite=overwrite,
        )
        _check_first_stage(first[-1], model)
    place = workspace.dataset(model.plan.dataset)
    found = install(
        place,
        name,
        source=_source(model, trained_on),
        fill=lambda draft: _fill(draft, model, name=name, splits=trained_on, first=first[-1] if first else None),
        overwrite=overwrite,
        notes=(*model.notes, *notes),
    )
    return [*first, found]


def _splits(model: NnunetModel, given: Path | None) -> tuple[Splits, tuple[str, ...]]:
    """Which cases each fold was trained on (no folds where that is not known), and what there is to say of it."""
    file = given or splits_beside(model.folder, model.nnunet_dataset)
    if file is None:
        return Splits(folds=()), ()
    splits = read_splits(file)
    folds = dict.fromkeys(source.fold for source in model.sources)
    unknown = [fold for fold in folds if fold not in (*splits.names, ALL)]
    notes = [f"fold {fold}: not in {file}, which cases it held out is not known" for fold in unknown]
    for fold in (fold for fold in folds if fold in splits.names):
        count = len(held_out_predictions(model.folder / f"fold_{fold}", splits.fold(fold)[1]))
        notes += [f"fold {fold}: took over nnU-Net's predictions of its {count} held-out cases"] if count else []
    return splits, (f"splits of {file}", *notes)


def _source(model: NnunetModel, splits: Splits) -> str:
    return (
        model.digest if not splits.folds else hashlib.sha256(f"{model.digest} {digest(splits)}".encode()).hexdigest()[:16]
    )


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


def _fill(draft: Path, model: NnunetModel, *, name: str, splits: Splits, first: Installed | None) -> None:
    """Write everything of a model folder into `draft`."""
    made_from = {IMPORTED: _source(model, splits)}
    plan = model.plan.model_copy(update={"made_from": made_from})
    card = ModelCard(
        name=name,
        dataset=plan.dataset,
        configuration=model.configuration.name,
        autoseg_version=version("autoseg"),
        made_from=made_from,
    )
    write_model(draft, plan=plan, card=card, splits=splits)
    if first is not None:
        save(_refined(first), draft / PREVIOUS_FILE)
    for fold in dict.fromkeys(source.fold for source in model.sources):
        _write_fold(draft, fold, [source for source in model.sources if source.fold == fold])
        if fold in splits.names:
            target = fold_folder(draft, fold) / VALIDATION_FOLDER
            take_over_predictions(model.folder / f"fold_{fold}", splits.fold(fold)[1], target)


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
