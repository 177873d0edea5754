"""What a model from a stranger may say: numbers, and names of parts that belong to this package."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from autoseg.errors import ArtefactError, AutosegError
from autoseg.interchange.nnunet_weights import check_fit
from autoseg.planning.consistency import check_configuration
from autoseg.planning.names import NETWORKS, TRAINING_NAMES
from autoseg.planning.plan import Configuration, Plan
from autoseg.training.model_folder import MODEL_FORMAT, open_model, weights_file

MOST_STAGES = 32
MOST_BLOCKS = 100
MOST_FEATURES = 2**16
MOST_CHANNELS = 1000


def check_model(folder: Path, *, source: Path) -> None:
    """Raise ArtefactError unless the model folder unpacked from the file `source` is whole and does not name any code.

    Weights are compared with the plan by their names and shapes, without laying out the network.
    """
    try:
        model = open_model(folder)
    except AutosegError as error:
        raise ArtefactError(f"{source}: {str(error).replace(str(folder), folder.name)}") from error
    if model.card.format != MODEL_FORMAT:
        raise ArtefactError(f"{source}: the model has format {model.card.format}, known is {MODEL_FORMAT}. Update autoseg.")
    if model.card.configuration not in model.plan.configurations:
        raise ArtefactError(f"{source}: model.json names {model.card.configuration!r}, which its plan does not have.")
    _check_names(model.plan, source)
    _check_size(model.plan, model.configuration, source)
    try:
        check_configuration(model.configuration, plan=model.plan, key=model.configuration.name)
    except AutosegError as error:
        raise ArtefactError(f"{source}: {error}") from error
    for fold in model.folds:
        for path in (weights_file(folder, fold, "final"), weights_file(folder, fold, "best")):
            if path.exists():
                check_fit(_shapes(path, source), plan=model.plan, configuration=model.configuration, path=source)


def _check_names(plan: Plan, source: Path) -> None:
    """A name such as `package:function` would be imported and run when the model is used."""
    settings = plan.training
    named = [
        (f"configurations.{one.name}.network.kind", one.network.kind, NETWORKS) for one in plan.configurations.values()
    ]
    named += [(f"training.{key}", getattr(settings, key), tuple(known)) for key, (_, known) in TRAINING_NAMES.items()]
    foreign = [(key, name) for key, name, known in named if name not in known]
    # Whatever other parts a plan may name, now or later: the name of a function has a colon.
    parts: list[BaseModel] = [plan.training, *(one.network for one in plan.configurations.values())]
    foreign += [(key, text) for part in parts for key, text in part if isinstance(text, str) and ":" in text]
    for key, name in foreign:
        raise ArtefactError(
            f"{source}: plan.json: {key}: names {name!r:.80}, which is no part of autoseg. A model that needs code of its "
            "own cannot be imported from a file; get its folder from someone you trust and name it with -m."
        )


def _check_size(plan: Plan, one: Configuration, source: Path) -> None:
    network = one.network
    for key, found, most in (
        ("stages", len(network.features), MOST_STAGES),
        ("features", max(network.features, default=0), MOST_FEATURES),
        ("encoder_blocks", max(network.encoder_blocks, default=0), MOST_BLOCKS),
        ("decoder_blocks", max(network.decoder_blocks, default=0), MOST_BLOCKS),
        ("channels", len(plan.channels), MOST_CHANNELS),
        ("labels", len(plan.labels.labels), MOST_CHANNELS),
    ):
        if found > most:
            raise ArtefactError(f"{source}: plan.json: {found} {key}; at most {most} are taken from a file.")


def _shapes(path: Path, source: Path) -> Mapping[str, tuple[int, ...]]:
    """Shapes of the tensors in a safetensors file, from its header alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, json.JSONDecodeError) as error:
        raise ArtefactError(
            f"{source}: {path.parent.name}/{path.name}: damaged ({str(error)[:100]}). Export it anew."
        ) from error
