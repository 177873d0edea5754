"""Writing a model folder, and the first stage that it refines, to one file."""

from collections.abc import Iterator
from pathlib import Path

from autoseg.artefacts import load
from autoseg.errors import ArtefactError
from autoseg.interchange.archive import ARCHIVE_FORMAT, MODEL, PREVIOUS, Manifest, Part, write_archive
from autoseg.prediction.ensemble import first_stage_folder, load_previous
from autoseg.training.model_folder import (
    CARD_FILE,
    FOLD_FILE,
    PLAN_FILE,
    SPLITS_FILE,
    FoldCard,
    Model,
    Which,
    fold_folder,
    open_model,
    weights_file,
)
from autoseg.training.previous_stage import PREVIOUS_FILE

WHICH: tuple[Which, ...] = ("final", "best")


def export_model(folder: Path, file: Path) -> Manifest:
    """Write the model in `folder` to `file`: plan, card, splits, and weights and card of each fold with final or best ones.

    A cascade brings its first stage. The same model gives the same bytes, wherever it lies. Checkpoints, histories and
    images of the training stay behind. Raises ArtefactError for a model that is damaged, and for a second stage whose
    first one is not there.
    """
    model = open_model(folder)
    parts = list(_parts(model, MODEL))
    if model.configuration.previous_stage is not None:
        parts += _first_stage(model)
    manifest = Manifest(
        format=ARCHIVE_FORMAT,
        autoseg_version=model.card.autoseg_version,
        name=model.card.name,
        dataset=model.card.dataset,
        configuration=model.configuration.name,
        files={part.name: part.described() for part in sorted(parts, key=lambda part: part.name)},
    )
    write_archive(file, manifest, parts)
    return manifest


def _parts(model: Model, place: str) -> Iterator[Part]:
    # Where it was imported from is not part of a model.
    card = model.card.model_copy(update={"made_from": model.plan.made_from})
    yield Part(f"{place}/{CARD_FILE}", (card.model_dump_json(indent=1) + "\n").encode())
    yield Part(f"{place}/{PLAN_FILE}", model.path / PLAN_FILE)
    yield Part(f"{place}/{SPLITS_FILE}", model.path / SPLITS_FILE)
    for fold in model.folds:
        card_file = fold_folder(model.path, fold) / FOLD_FILE
        load(FoldCard, card_file, remake=model.remake(f"-f {fold} --restart"))
        yield Part(f"{place}/fold_{fold}/{FOLD_FILE}", card_file)
        for which in WHICH:
            weights = weights_file(model.path, fold, which)
            if weights.exists():
                yield Part(f"{place}/fold_{fold}/{weights.name}", weights)


def _first_stage(model: Model) -> Iterator[Part]:
    """What a second stage refines, and its reference to it as it is inside the file."""
    stage = load_previous(model)
    first = open_model(first_stage_folder(model))
    if first.configuration.previous_stage is not None:
        raise ArtefactError(f"{first.path}: is itself a second stage; only cascades of two stages can be exported.")
    inside = stage.model_copy(update={"model": f"../{PREVIOUS}"})
    yield Part(f"{MODEL}/{PREVIOUS_FILE}", (inside.model_dump_json(indent=1) + "\n").encode())
    yield from _parts(first, PREVIOUS)
