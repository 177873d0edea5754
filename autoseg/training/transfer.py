"""Starting from another model's weights: what of them fits a network, and how the rest begins."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from autoseg.errors import TrainingError, unknown_name
from autoseg.planning.plan import Configuration, Plan
from autoseg.planning.settings import apply_settings
from autoseg.training.checkpoint import load_weights
from autoseg.training.model_folder import CARD_FILE, Model, Transfer, open_model, weights_file
from autoseg.workspace import DatasetFolder, Workspace

logger = logging.getLogger(__name__)

ADOPTED = (
    *("network.kind", "network.strides", "network.kernels", "network.features"),
    *("network.encoder_blocks", "network.decoder_blocks", "network.norm", "network.dropout"),
    *("patch_size", "batch_size", "spacing_mm"),
)
"""What a configuration takes over from the one whose weights it starts from."""


def find_source(named: Path | str, folder: DatasetFolder) -> Model:
    """The model to start from: a model folder, the name of one of the data set, or DATASET/MODEL of the workspace.

    Raises UnknownNameError where there is none of that name, ArtefactError for one that is damaged or not trained yet.
    """
    workspace = Workspace(folder.path.parent)
    for path in (folder.models / named, workspace.located(str(named)), Path(named)):
        if path is not None and (path / CARD_FILE).is_file():
            return open_model(path)
    known = [f"{dataset}/{model}" for dataset in workspace.with_models() for model in workspace.models_of(dataset)]
    own = workspace.models_of(folder.path.name)
    raise unknown_name("model to start from (a model folder, or a name)", str(named), [*own, *known])


def adopted(plan: Plan, configuration: str, source: Model) -> Plan:
    """The plan with topology, patch, batch and spacing of the configuration that `source` was trained on.

    Normalisation stays: it follows the plan's own channels. Raises TrainingError where the dimensions differ.
    """
    ours, theirs = plan.configurations[configuration], source.configuration
    if ours.dimensions != theirs.dimensions:
        fitting = [name for name, one in plan.configurations.items() if one.dimensions == theirs.dimensions]
        raise TrainingError(
            f"{source.path}: was trained in {theirs.dimensions} dimensions ({theirs.name}), {configuration} has "
            f"{ours.dimensions}. Its weights fit {', '.join(fitting) or 'no configuration of this data set'}."
        )
    if plan.transpose_forward != source.plan.transpose_forward:
        logger.warning(
            "the axes of %s are in another order than those of %s: its filters will see images turned.",
            source.plan.dataset,
            plan.dataset,
        )
    changed = [key for key in ADOPTED if _value(ours, key) != _value(theirs, key)]
    settings = [f"{configuration}.{key}={_text(_value(theirs, key))}" for key in changed]
    return apply_settings(plan, settings, source=f"--init-from {source.card.name}")


def _value(configuration: Configuration, key: str) -> object:
    group, _, field = key.rpartition(".")
    return getattr(getattr(configuration, group) if group else configuration, field)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def source_fold(source: Model, fold: str) -> str:
    """The fold whose weights `fold` starts from: the one of that name, else the first that is trained."""
    return fold if fold in source.folds else source.folds[0]


def weights_digest(source: Model, fold: str) -> str:
    """A short fingerprint of the weights that `fold` starts from: 16 hexadecimal digits."""
    return hashlib.sha256(_file(source, source_fold(source, fold)).read_bytes()).hexdigest()[:16]


def _file(source: Model, fold: str) -> Path:
    final = weights_file(source.path, fold, "final")
    return final if final.exists() else weights_file(source.path, fold, "best")


def take_weights(network: nn.Module, source: Model, *, fold: str, plan: Plan, configuration: Configuration) -> Transfer:
    """Give a fresh network what fits of the weights that `source` has for `fold`; says what became of which.

    What has the same name and shape is taken. The filters of the first layer are taken by the name of the channel they
    look at, for a channel that the source does not know as the mean of all of its; the normalisation that follows makes
    their scale irrelevant. Heads are taken where the outputs are the same, and begin at zero elsewhere. Raises
    TrainingError where nothing fits.
    """
    chosen = source_fold(source, fold)
    weights = load_weights(_file(source, chosen), remake=source.remake())
    new, old = input_names(plan, configuration), input_names(source.plan, source.configuration)
    mine = network.state_dict()
    first = _first_layer(mine, channels=len(new), dimensions=configuration.dimensions)
    same_outputs = _outputs(plan) == _outputs(source.plan)
    taken = {
        name: weights[name]
        for name, tensor in mine.items()
        if name in weights and weights[name].shape == tensor.shape and (same_outputs or not _is_head(name))
    }
    made = dict[str, str]()
    inflated = None
    if first is not None and new != old and _fits_inflated(mine[first], weights.get(first), channels=len(old)):
        taken[first], made = _by_channel(weights[first], new=new, old=old)
        inflated = first
    if not taken:
        raise TrainingError(
            f"{source.path}: none of its weights fits {configuration.name}, no tensor has the same name and shape. Leave "
            "the topology as the source has it, or train without --init-from."
        )
    # A head drawn at random has much to unlearn before it says anything of features that are not.
    heads = {name: torch.zeros_like(tensor) for name, tensor in mine.items() if _is_head(name)}
    network.load_state_dict({**mine, **heads, **taken})
    return Transfer(
        model=str(source.path),
        fold=chosen,
        weights=weights_digest(source, fold),
        taken=len(taken) - (inflated is not None),
        inflated=inflated,
        channels=made,
        fresh=tuple(name for name in mine if name not in taken),
        unused=tuple(name for name in weights if name not in taken),
    )


def input_names(plan: Plan, configuration: Configuration) -> tuple[str, ...]:
    """What a network sees: the image's channels, and in a cascade the masks of the stage before."""
    masks = plan.labels.foreground if configuration.previous_stage else ()
    return (*plan.channels, *(f"mask of {label.name}" for label in masks))


def _outputs(plan: Plan) -> tuple[str, tuple[str, ...]]:
    return plan.labels.target, plan.labels.output_names


def _is_head(name: str) -> bool:
    return "heads" in name.split(".")


def _first_layer(tensors: Mapping[str, Tensor], *, channels: int, dimensions: int) -> str | None:
    """The first convolution that looks at so many channels."""
    kernels = (name for name, tensor in tensors.items() if tensor.dim() == dimensions + 2)
    first = next(kernels, None)
    return first if first is not None and tensors[first].shape[1] == channels else None


def _fits_inflated(new: Tensor, old: Tensor | None, *, channels: int) -> bool:
    if old is None or old.dim() != new.dim() or old.shape[1] != channels:
        return False
    return (old.shape[0], *old.shape[2:]) == (new.shape[0], *new.shape[2:])


def _by_channel(kernels: Tensor, *, new: Sequence[str], old: Sequence[str]) -> tuple[Tensor, dict[str, str]]:
    """The first layer's kernels (out, channel, *kernel) for other channels, and what each was made from."""
    known = {name.casefold(): index for index, name in enumerate(old)}
    found = [known.get(name.casefold()) for name in new]
    mean = kernels.mean(dim=1)
    parts = [mean if index is None else kernels[:, index] for index in found]
    described = {
        name: f"the mean of {', '.join(old)}" if index is None else old[index]
        for name, index in zip(new, found, strict=True)
    }
    return torch.stack(parts, dim=1), described
