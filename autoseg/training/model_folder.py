"""A trained model as a folder that needs nothing else: plan, card, splits, and weights of each fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from torch import nn

from autoseg.artefacts import FROZEN, load, save
from autoseg.data.splits import Splits
from autoseg.errors import ArtefactError, number_of, unknown_name
from autoseg.networks.unet import build_network
from autoseg.planning.plan import Configuration, Plan
from autoseg.training.checkpoint import load_weights

MODEL_FORMAT = 1
PLAN_FILE = "plan.json"
CARD_FILE = "model.json"
SPLITS_FILE = "splits.json"
FOLD_FILE = "fold.json"
VALIDATION_FOLDER = "validation"
EVENTS_FOLDER = "tensorboard"

FOLLOWING = ("checkpoint_minutes", "watchdog_s", "validate_every", "validate_cases", "tensorboard", "variant")
"""Training settings that leave the weights as they are."""

Which = Literal["final", "best"]

IMPORTED = "imported"
"""The key of a card's `made_from` with the digest of what an imported model was made from."""


class ModelCard(BaseModel):
    """What a model folder holds. `made_from` maps "dataset" and "fingerprint" to their digests.

    `step_s` is the duration of a step measured before a training under a time budget, None for others. `recipe` and
    `init_from` are what the training was asked for by these options. `variant` is how all folds compute their steps.
    """

    model_config = FROZEN
    format: int = MODEL_FORMAT
    name: str
    dataset: str
    configuration: str
    autoseg_version: str
    made_from: dict[str, str]
    step_s: float | None = None
    recipe: str | None = None
    init_from: str | None = None
    variant: str = "plain"


class Transfer(BaseModel):
    """What became of the weights of a fold of another model.

    `weights` is the digest of their file. So many tensors were `taken` as they are; `inflated` is the first layer where its
    channels differ, and `channels` says for each channel of the new one what it was made from. `fresh` tensors of the new
    network begin anew, heads at zero and others at random; `unused` ones of the other are left behind.
    """

    model_config = FROZEN
    model: str
    fold: str
    weights: str
    taken: int
    inflated: str | None
    channels: dict[str, str]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{number_of(self.taken, 'tensor')} taken as they are"]
        if self.inflated is not None:
            made = "; ".join(f"{new} from {old}" for new, old in self.channels.items())
            parts.append(f"first layer {self.inflated} made from its channels ({made})")
        parts.append(f"{len(self.fresh)} begin anew{_listed(self.fresh)}")
        parts.append(f"{len(self.unused)} of the source not used{_listed(self.unused)}")
        return ", ".join(parts)


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(names[:most]) + (" ..." if len(names) > most else "")
    return f" ({shown})" if names else ""


class FoldCard(BaseModel):
    """How one fold was trained, and what came of it; what is not known before the end is None until then.

    `pseudo_dice` has one entry per foreground output, from the last epoch's validation patches. `ended_early` says why the
    validation losses ended the training before its time, `started_from` what became of another model's weights.
    """

    model_config = FROZEN
    fold: str
    finished: bool
    budget_s: float | None
    device: str
    precision: str
    threads: int
    torch_version: str
    variant: str = "plain"
    parameters: int
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    train_loss: float | None = None
    pseudo_dice: tuple[float | None, ...] = ()
    mean_pseudo_dice: float | None = None
    best_ema_pseudo_dice: float | None = None
    ended_early: str | None = None
    started_from: Transfer | None = None


@dataclass(frozen=True)
class Model:
    """A model folder that has been read; `folds` names those with weights."""

    path: Path
    plan: Plan
    card: ModelCard
    folds: tuple[str, ...]

    @property
    def configuration(self) -> Configuration:
        """The configuration that was trained."""
        return self.plan.configurations[self.card.configuration]

    @property
    def splits(self) -> Splits:
        """Which cases each fold was trained on."""
        return load(Splits, self.path / SPLITS_FILE, remake=self.remake())

    def remake(self, options: str = "") -> str:
        """The command that makes this model: trains it, with `options`, or imports it again."""
        card = self.card
        if IMPORTED in card.made_from:
            return f"autoseg_import FOLDER --name {card.name} --overwrite"
        named = {
            "-d": card.dataset,
            "--recipe": card.recipe,
            "--init-from": card.init_from,
            "--name": None if card.name in (card.recipe, card.configuration) else card.name,
        }
        given = "".join(f" {option} {value}" for option, value in named.items() if value is not None)
        return f"autoseg_train {card.configuration}{given}{options and ' '}{options}"


def fold_folder(model: Path, fold: str) -> Path:
    """Where the files of a fold lie."""
    return model / f"fold_{fold}"


def weights_file(model: Path, fold: str, which: Which) -> Path:
    """Where the final or best weights of a fold lie."""
    return fold_folder(model, fold) / f"weights_{which}.safetensors"


def write_model(path: Path, *, plan: Plan, card: ModelCard, splits: Splits) -> None:
    """Write everything of a model folder that does not belong to a fold."""
    save(plan, path / PLAN_FILE)
    save(card, path / CARD_FILE)
    save(splits, path / SPLITS_FILE)


def open_model(path: Path) -> Model:
    """The model stored in the folder `path`.

    Raises ArtefactError when it is no model folder, is damaged, or holds no fold with weights yet.
    """
    remake = "autoseg_train CONFIGURATION"
    card = load(ModelCard, path / CARD_FILE, remake=remake)
    plan = load(Plan, path / PLAN_FILE, remake=remake)
    found = (entry.name.removeprefix("fold_") for entry in path.glob("fold_*"))
    folds = sorted(f for f in found if any(weights_file(path, f, which).exists() for which in ("final", "best")))
    if not folds:
        raise ArtefactError(f"{path}: no fold has weights yet. Train one with: autoseg_train {card.configuration} -f 0")
    return Model(path=path, plan=plan, card=card, folds=tuple(folds))


def finished_folds(path: Path) -> tuple[str, ...]:
    """Names of the folds in the folder `path` that were trained to the end, sorted; none where nothing is there."""
    found = []
    for file in path.glob(f"fold_*/{FOLD_FILE}"):
        card = load(FoldCard, file, remake="autoseg_train CONFIGURATION --restart")
        if card.finished and weights_file(path, card.fold, "final").exists():
            found.append(card.fold)
    return tuple(sorted(found))


def load_network(model: Model, fold: str, *, which: Which = "final") -> nn.Module:
    """The trained network of `fold` on the CPU, ready to predict: evaluation mode, the finest output alone.

    Raises UnknownNameError for a fold without weights, ArtefactError for weights that are missing, truncated or of
    another network.
    """
    if fold not in model.folds:
        raise unknown_name("trained fold", fold, model.folds)
    path = weights_file(model.path, fold, which)
    again = model.remake(f"-f {fold}")
    if not path.exists():
        other = "best" if which == "final" else "final"
        raise ArtefactError(
            f"{path}: not found; the training of fold {fold} has not finished. Finish it with: {again}, or use its "
            f"{other} weights."
        )
    weights = load_weights(path, remake=model.remake(f"-f {fold} --restart"))
    network = network_of(model.plan, model.configuration)
    network.deep_supervision = False  # type: ignore[assignment]
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ArtefactError(
            f"{path}: these weights belong to another network than the plan beside them ({reason}). "
            f"Make it anew with: {model.remake(f'-f {fold} --restart')}"
        ) from error
    return network.eval()


def network_of(plan: Plan, configuration: Configuration) -> nn.Module:
    """A fresh network for a configuration of a plan, on the CPU, its weights drawn from the training seed."""
    return build_network(
        configuration.network,
        dimensions=configuration.dimensions,
        in_channels=plan.input_channels(configuration),
        out_channels=plan.labels.output_channels,
        deep_supervision=plan.training.deep_supervision,
        seed=plan.training.seed,
    )


def differences(stored: Plan, wanted: Plan, configuration: str) -> list[str]:
    """Each value that matters to a training of `configuration` and is not the same in two plans, as `path: old -> new`."""
    before, after = (_flat(_relevant(plan, configuration)) for plan in (stored, wanted))
    return [
        f"{key}: {before.get(key, 'nothing')} -> {after.get(key, 'nothing')}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key)
    ]


def _relevant(plan: Plan, configuration: str) -> dict[str, Any]:
    values = plan.model_dump(mode="json")
    chosen = values.pop("configurations").get(configuration)
    # Nor does the memory there was where it was planned.
    for key in ("predicted_training_bytes", "predicted_prediction_bytes", "memory_budget_bytes") if chosen else ():
        del chosen[key]
    # Nor does how a training is followed, so that may change when it is resumed.
    for key in FOLLOWING:
        values["training"].pop(key, None)
    # How the plan came about does not change what is trained.
    return {key: value for key, value in values.items() if key != "decisions"} | {configuration: chosen}


def _flat(value: object, path: str = "") -> dict[str, object]:
    if not isinstance(value, Mapping):
        return {path: value}
    return {
        inner_path: inner
        for key, entry in value.items()
        for inner_path, inner in _flat(entry, f"{path}.{key}" if path else str(key)).items()
    }
