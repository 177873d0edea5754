"""Which trained models predict together, and loading them."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import nn

from autoseg.artefacts import digest, load
from autoseg.data.labels import LabelScheme
from autoseg.errors import ArtefactError, PredictionError, StaleError, unknown_name
from autoseg.planning.plan import Configuration, Plan
from autoseg.prediction.agreeing import shares
from autoseg.prediction.beside import scheme_text
from autoseg.training.model_folder import CARD_FILE, Model, Which, load_network, open_model, weights_file
from autoseg.training.previous_stage import PREVIOUS_FILE, HandedOn, PreviousStage, folds_digest
from autoseg.workspace import DatasetFolder

PREFERRED = "3d_fullres"
"""The configuration taken where several are trained and none is named."""


@dataclass(frozen=True, eq=False)
class Member:
    """One configuration and its networks, one for each fold; they agree by the mean of their logits.

    `previous` is the stage whose findings the networks refine, None where they see nothing but the image. `handed_on` says
    in which form the findings of such a stage come onto the grid of the next.
    """

    plan: Plan
    configuration: Configuration
    networks: tuple[nn.Module, ...]
    previous: "Member | None" = None
    handed_on: HandedOn = "logits"


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Loaded networks and where they came from.

    `shares` (of 1) are what the members count. `digest` changes with any of these, any weight and any plan, and not with
    the order of members; `notes` say what was chosen on the user's behalf.
    """

    members: tuple[Member, ...]
    shares: tuple[float, ...]
    models: tuple[Path, ...]
    configurations: tuple[str, ...]
    folds: tuple[str, ...]
    digest: str
    notes: tuple[str, ...]


def choose_models(folder: DatasetFolder, *, names: Sequence[str] = (), configurations: Sequence[str] = ()) -> list[Path]:
    """The model folders of a data set that `names` and `configurations` ask for; both empty: the usual one.

    A name may also be the path of a model folder. The usual one is 3d_fullres, or the only one there is. Raises
    UnknownNameError for a name or configuration that is not trained, PredictionError where there is nothing to choose
    from, or too much.
    """
    trained = {path.parent.name: path.parent for path in sorted(folder.models.glob(f"*/{CARD_FILE}"))}
    chosen = [_named(name, trained) for name in names]
    chosen += [_of_configuration(wanted, trained) for wanted in configurations]
    if chosen:
        return list(dict.fromkeys(chosen))
    if not trained:
        raise PredictionError(
            f"{folder.models}: nothing has been trained yet. Run: autoseg_train CONFIGURATION -d {folder.path.name}, "
            "or name a data set that has models with -d."
        )
    if len(trained) > 1 and PREFERRED not in trained:
        raise PredictionError(f"several models are trained: {', '.join(trained)}. Choose with -c CONFIGURATION or -m NAME.")
    return [trained.get(PREFERRED, next(iter(trained.values())))]


def is_model_folder(path: Path) -> bool:
    """Whether a trained model lies at `path`."""
    return (path / CARD_FILE).is_file()


def open_ensemble(
    models: Sequence[Path],
    *,
    folds: Sequence[str] = (),
    which: Which = "final",
    most_folds: int | None = None,
    weights: Sequence[float] | None = None,
) -> Ensemble:
    """The networks of `folds` (none: all trained ones, or the first `most_folds`) of each model folder, on the CPU.

    `weights` are one for each model folder, without them all count the same. A fold without the weights asked for takes
    its other ones, which is noted. A cascade brings the model that it refines, with all folds that it was trained on.
    Raises UnknownNameError for a fold that is not trained, ArtefactError for a damaged model and PredictionError for
    weights that do not fit.
    """
    if not models:
        raise PredictionError("no model was named. Give at least one model folder.")
    contributions = shares(weights, len(models))
    opened = [open_model(path) for path in models]
    notes: list[str] = []
    loaded = [_loaded(model, tuple(folds) or model.folds[:most_folds], which, notes) for model in opened]
    seen = sorted(f"{one.digest} {share!r}" for one, share in zip(loaded, contributions, strict=True))
    return Ensemble(
        members=tuple(one.member for one in loaded),
        shares=contributions,
        models=tuple(model.path for model in opened),
        configurations=tuple(model.configuration.name for model in opened),
        folds=tuple(dict.fromkeys(fold for one in loaded for fold in one.folds)),
        digest=hashlib.sha256(" ".join(seen).encode()).hexdigest()[:16],
        notes=tuple(notes),
    )


class _Loaded(NamedTuple):
    member: Member
    folds: tuple[str, ...]
    digest: str


def _loaded(model: Model, folds: Sequence[str], which: Which, notes: list[str]) -> _Loaded:
    """The member that a model folder holds. Folds are taken in one order, so that sums over them are always the same."""
    ordered = tuple(sorted(set(folds)))
    seen = hashlib.sha256()
    networks = []
    for fold in ordered:
        found = _available(model, fold, which, notes)
        networks.append(load_network(model, fold, which=found))
        seen.update(_file_digest(weights_file(model.path, fold, found)))
    seen.update(digest(model.plan).encode())
    previous = _previous(model, notes)
    if previous is not None:
        seen.update(load_previous(model).digest.encode())
    return _Loaded(Member(model.plan, model.configuration, tuple(networks), previous), ordered, seen.hexdigest())


def fitting_together(members: Sequence[Member]) -> tuple[Member, ...]:
    """The same members. Raises PredictionError where they differ in channels or labels."""
    first = members[0].plan
    for member in members[1:]:
        plan = member.plan
        pairs = (("channels", first.channels, plan.channels), ("labels", first.labels, plan.labels))
        for what, one, other in pairs:
            if one != other:
                described = [scheme_text(x) if isinstance(x, LabelScheme) else ", ".join(x) for x in (one, other)]
                raise PredictionError(
                    f"the models of {first.dataset} and {plan.dataset} differ in {what} and cannot be averaged: found "
                    f"{described[0]} and {described[1]}. Predict with one at a time."
                )
    return tuple(members)


def load_previous(model: Model) -> PreviousStage:
    """Which model a cascade refines. Raises ArtefactError where its folder does not say."""
    return load(PreviousStage, model.path / PREVIOUS_FILE, remake=model.remake("--restart"))


def first_stage_folder(model: Model) -> Path:
    """Where the first stage of a cascade lies. Raises ArtefactError where it is gone."""
    stage = load_previous(model)
    path = Path(os.path.normpath(model.path.absolute() / stage.model))
    if not is_model_folder(path):
        raise ArtefactError(
            f"{model.path}: refines what a model of {stage.configuration} finds, which is not at {path} any more. "
            f"Put its folder back there, or train both again: {model.remake('--restart')}"
        )
    return path


def _previous(model: Model, notes: list[str]) -> Member | None:
    """The stage that `model` refines, with the very weights it was trained on; None for a model of a single stage."""
    if model.configuration.previous_stage is None:
        return None
    stage, path = load_previous(model), first_stage_folder(model)
    first = open_model(path)
    gone = [fold for fold in stage.folds if not weights_file(path, fold, "final").exists()]
    if gone or folds_digest(first, stage.folds) != stage.digest:
        state = f"fold {gone[0]} is gone" if gone else "it was trained anew"
        raise StaleError(
            f"{model.path}: refines what {path} finds, but {state} since. Train the second stage again: "
            f"{model.remake('--restart')}"
        )
    notes.append(f"{model.card.name}: first stage {first.card.name}, folds {', '.join(stage.folds)}")
    networks = tuple(load_network(first, fold) for fold in stage.folds)
    return Member(first.plan, first.configuration, networks, _previous(first, notes), stage.handed_on)


def _named(name: str, trained: dict[str, Path]) -> Path:
    if name in trained:
        return trained[name]
    if is_model_folder(Path(name)):
        return Path(name)
    raise unknown_name("model", name, trained)


def _of_configuration(wanted: str, trained: dict[str, Path]) -> Path:
    """The model called like the configuration, else the only one that trained it under another name."""
    if wanted in trained:
        return trained[wanted]
    others = {name: path for name, path in trained.items() if open_model(path).configuration.name == wanted}
    if len(others) == 1:
        return next(iter(others.values()))
    if others:
        raise PredictionError(f"several models trained {wanted}: {', '.join(others)}. Choose one with -m NAME.")
    raise unknown_name("trained configuration", wanted, trained)


def _available(model: Model, fold: str, which: Which, notes: list[str]) -> Which:
    """The weights to take; a fold that is not trained is left to `load_network` to refuse."""
    other: Which = "best" if which == "final" else "final"
    if weights_file(model.path, fold, which).exists() or not weights_file(model.path, fold, other).exists():
        return which
    notes.append(
        f"fold {fold} of {model.card.name} has no {which} weights (its training has not finished?): took its {other} ones"
    )
    return other


def _file_digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
