"""What can be chosen: trained models, and pairs and triples of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from autoseg.errors import SelectionError
from autoseg.selection.unseen import why_seen
from autoseg.training.model_folder import CARD_FILE, Model, finished_folds, open_model
from autoseg.workspace import DatasetFolder

MOST_MEMBERS = 3
WITHOUT_SPLITS = (
    "{name}: does not say which cases its folds held out, as models of nnU-Net do not. Import it again with "
    "--splits splits_final.json --overwrite."
)


@dataclass(frozen=True, eq=False)
class Candidate:
    """Models that predict together, and the folds whose held-out cases they are judged by."""

    models: tuple[Model, ...]
    folds: tuple[str, ...]

    @property
    def name(self) -> str:
        """The models' names, joined."""
        return "+".join(model.card.name for model in self.models)


def candidates(folder: DatasetFolder, *, most_members: int = MOST_MEMBERS) -> tuple[list[Candidate], list[str]]:
    """Every trained model, pair and triple, with the folds that all of them have in common; and notes on what is missing.

    All are judged by the same cases: where models have finished different folds, by those of the folds common to all;
    models that have none in common with the most complete one are left out. A fold trained on all cases has none held out.
    A cascade is judged alone where its first stage has seen some of the cases. Raises SelectionError where no model has a
    fold that holds cases out.
    """
    opened = [open_model(path.parent) for path in sorted(folder.models.glob(f"*/{CARD_FILE}"))]
    folds = {model.card.name: held_out_folds(model) for model in opened}
    if not any(folds.values()):
        imported = [WITHOUT_SPLITS.format(name=model.card.name) for model in opened if not model.splits.folds]
        advice = " ".join(imported) or "Train one: autoseg_train 3d_fullres -f 0"
        raise SelectionError(f"{folder.models}: no model has a finished fold that holds cases out. {advice}")
    notes = [note for model in opened for note in _what_is_missing(model, folds[model.card.name])]
    most = max(opened, key=lambda model: len(folds[model.card.name]))
    common = set(folds[most.card.name])
    kept = [model for model in opened if common & set(folds[model.card.name]) and _fits(model, most)]
    for model in kept:
        common &= set(folds[model.card.name])
    notes += [
        f"{model.card.name}: left out, it has no fold or no splits in common" for model in opened if model not in kept
    ]
    if not common:
        kept, common = [most], set(folds[most.card.name])
        notes.append(f"no fold is common to all models: only {most.card.name} is judged")
    seen = {model.card.name: why_seen(model, sorted(common)) for model in kept}
    notes += [f"{name}: judged alone, its first stage has seen cases. {why}" for name, why in seen.items() if why]
    partners = [model for model in kept if seen[model.card.name] is None]
    groups = [(model,) for model in kept] + [
        group for size in range(2, most_members + 1) for group in combinations(partners, size)
    ]
    return [Candidate(tuple(group), tuple(sorted(common))) for group in groups], notes


def held_out_folds(model: Model) -> tuple[str, ...]:
    """The finished folds of a model that are known to hold cases out."""
    return tuple(fold for fold in finished_folds(model.path) if fold in model.splits.names)


def _what_is_missing(model: Model, folds: Sequence[str]) -> list[str]:
    if not model.splits.folds:
        return [WITHOUT_SPLITS.format(name=model.card.name)]
    missing = [fold for fold in model.splits.names if fold not in folds]
    return [f"{model.card.name}: fold {', '.join(missing)} not trained"] if missing else []


def _fits(model: Model, other: Model) -> bool:
    same = (model.plan.labels, model.plan.channels) == (other.plan.labels, other.plan.channels)
    return same and model.splits == other.splits
