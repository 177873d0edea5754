"""Recipes: ways to train that have a name, laid over the plan of any data set."""

import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, JsonValue, ValidationError, model_validator

from autoseg.artefacts import FROZEN, describe
from autoseg.data.labels import LabelScheme, Region, train_on_regions
from autoseg.errors import ArtefactError, LabelError, PlanError, unknown_name
from autoseg.fingerprint.fingerprint import CaseFingerprint
from autoseg.planning.plan import Configuration, Decision, NetworkSpec, Plan, TrainingSettings
from autoseg.planning.settings import apply_settings
from autoseg.planning.topology import total_stride

_ENDING = ".json"
USUAL = {2: "2d", 3: "3d_fullres"}
"""The configuration that a recipe for so many dimensions is trained on where none is named."""


class Recipe(BaseModel):
    """What a recipe changes in a plan; whatever it does not name stays as planned.

    `dimensions` are those of the networks it is for (None: both). `target` makes the network predict classes ("labels"),
    regions (one channel per label where the data set has none), or one channel per foreground label ("label_channels").
    `depth` is the most stages the network has, `first_features` the feature maps of the first one, doubled from stage to
    stage; `encoder_blocks` and `decoder_blocks` hold for every stage. Patches are cut to `most_edge` voxels along each
    axis, as the strides allow; with `whole_slices` they cover the largest image of the data set before cropping instead.
    `configuration` and `training` hold values by the name that `--set` knows them by. `needs_source` recipes start from
    another model's weights.
    """

    model_config = FROZEN
    name: str = Field(pattern=r"^\w[\w.-]*$")
    title: str
    source: str
    dimensions: Literal[2, 3] | None = None
    target: Literal["labels", "regions", "label_channels"] | None = None
    depth: int | None = Field(default=None, ge=1)
    first_features: int | None = Field(default=None, ge=1)
    encoder_blocks: int | None = Field(default=None, ge=1)
    decoder_blocks: int | None = Field(default=None, ge=1)
    most_edge: int | None = Field(default=None, ge=1)
    whole_slices: bool = False
    needs_source: bool = False
    configuration: dict[str, JsonValue] = {}
    training: dict[str, JsonValue] = {}

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        try:
            TrainingSettings.model_validate_json(json.dumps(self.training))
        except ValidationError as error:
            raise ValueError(f"training.{describe(error)}") from error
        if self.target is not None and "loss" not in self.training:
            raise ValueError("a recipe that names a target names a loss that fits it as well")
        return self

    def settings(self, configuration: str) -> list[str]:
        """The values that it names, as KEY=VALUE for that configuration."""
        keys = {f"{configuration}.{key}": value for key, value in self.configuration.items()}
        keys |= {f"training.{key}": value for key, value in self.training.items()}
        return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in keys.items()]


def recipe_names() -> list[str]:
    """The names of all recipes that come with autoseg, sorted."""
    found = (entry.name for entry in files("autoseg.recipes").iterdir())
    return sorted(name.removesuffix(_ENDING) for name in found if name.endswith(_ENDING))


def load_recipe(name: str) -> Recipe:
    """The recipe called `name`, or the one in the file `name` (a path that ends in .json).

    Keys that a file leaves out change nothing. Raises UnknownNameError with the nearest known name, and ArtefactError for
    a file that is missing or no recipe.
    """
    if not name.endswith(_ENDING):
        if name not in recipe_names():
            raise unknown_name("recipe", name, recipe_names())
        return Recipe.model_validate_json(files("autoseg.recipes").joinpath(name + _ENDING).read_text(encoding="utf-8"))
    try:
        return Recipe.model_validate_json(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(
            f"recipe {name}: cannot be read ({error}). Known by name: {', '.join(recipe_names())}."
        ) from error
    except ValidationError as error:
        raise ArtefactError(f"recipe {name}: {describe(error)}. Correct the file.") from error


def configuration_for(recipe: Recipe, plan: Plan, asked: str | None) -> str:
    """The configuration that `recipe` is trained on: the one asked for, else the usual one that the plan has.

    Raises PlanError for one of other dimensions, or where the plan has none of its own, UnknownNameError for one that the
    plan does not have.
    """
    fitting = [one.name for one in plan.configurations.values() if recipe.dimensions in (None, one.dimensions)]
    if asked is not None and asked not in plan.configurations:
        raise unknown_name("configuration", asked, plan.configurations)
    if asked in fitting:
        return str(asked)
    usual = [name for name in (USUAL[recipe.dimensions or 3], USUAL[2]) if name in fitting]
    if asked is None and usual:
        return usual[0]
    raise PlanError(
        f"recipe {recipe.name} is for networks in {recipe.dimensions} dimensions. Of {plan.dataset} it can be trained on: "
        f"{', '.join(fitting) or 'nothing'}."
    )


def apply_recipe(plan: Plan, recipe: Recipe, *, configuration: str, cases: Sequence[CaseFingerprint]) -> Plan:
    """The plan with what `recipe` says about one of its configurations, each value recorded as a decision.

    Raises PlanError for values that do not fit the plan, UnknownNameError for keys that do not exist.
    """
    plan = _with_target(plan, recipe)
    changed = recipe.model_copy(update={"configuration": _sizes(plan, recipe, configuration, cases) | recipe.configuration})
    return apply_settings(plan, changed.settings(configuration), source=f"recipe {recipe.name}")


def _with_target(plan: Plan, recipe: Recipe) -> Plan:
    if recipe.target is None:
        return plan
    labels, what = _labels_for(plan.labels, recipe.target)
    decision = Decision(
        name="target",
        value=what,
        because=f"{recipe.title}: {', '.join(labels.output_names)}",
        source=f"recipe {recipe.name}",
    )
    return plan.model_copy(update={"labels": labels, "decisions": (*plan.decisions, decision)})


def _labels_for(scheme: LabelScheme, target: Literal["labels", "regions", "label_channels"]) -> tuple[LabelScheme, str]:
    """The scheme with that target, and what its outputs are."""
    if target == "labels":
        plain = LabelScheme(labels=scheme.labels, regions=scheme.regions, ignore=scheme.ignore)
        return plain, "classes that exclude each other"
    if target == "regions" and scheme.regions:
        try:
            return train_on_regions(scheme), "regions"
        except LabelError:
            pass  # regions that leave a label out serve evaluation alone
    single = tuple(Region(name=label.name, values=(label.value,), writes=label.value) for label in scheme.foreground)
    channels = LabelScheme(labels=scheme.labels, regions=single, ignore=scheme.ignore)
    return train_on_regions(channels), "one channel per label"


def _sizes(plan: Plan, recipe: Recipe, configuration: str, cases: Sequence[CaseFingerprint]) -> dict[str, JsonValue]:
    """Topology and patch of a recipe for a configuration of the plan, as values by name."""
    one = plan.configurations[configuration]
    stages = min(recipe.depth or len(one.network.strides), len(one.network.strides))
    divisor = total_stride(one.network.strides[:stages])
    found = _topology(one.network, recipe, stages=stages)
    if recipe.whole_slices:
        largest = _largest_image(plan, one, cases)
        found["patch_size"] = [math.ceil(n / d) * d for n, d in zip(largest, divisor, strict=True)]
    elif recipe.most_edge is not None:
        most = [max(recipe.most_edge // d, 1) * d for d in divisor]
        found["patch_size"] = [min(edge, limit) for edge, limit in zip(one.patch_size, most, strict=True)]
    return found


def _topology(network: NetworkSpec, recipe: Recipe, *, stages: int) -> dict[str, JsonValue]:
    """The planned network's first `stages`, with the feature maps and blocks that the recipe names."""
    features: list[JsonValue] = list(network.features[:stages])
    if recipe.first_features is not None:
        features = [recipe.first_features * 2**stage for stage in range(stages)]
    encoder: list[JsonValue] = list(network.encoder_blocks[:stages])
    decoder: list[JsonValue] = list(network.decoder_blocks[: stages - 1])
    found: dict[str, JsonValue] = {
        "network.strides": [list(axes) for axes in network.strides[:stages]],
        "network.kernels": [list(axes) for axes in network.kernels[:stages]],
        "network.features": features,
        "network.encoder_blocks": encoder if recipe.encoder_blocks is None else [recipe.encoder_blocks] * stages,
        "network.decoder_blocks": decoder if recipe.decoder_blocks is None else [recipe.decoder_blocks] * (stages - 1),
    }
    planned = {key: getattr(network, key.partition(".")[2]) for key in found}
    return {key: value for key, value in found.items() if _as_tuples(value) != planned[key]}


def _as_tuples(value: JsonValue) -> object:
    return tuple(_as_tuples(entry) for entry in value) if isinstance(value, list) else value


def _largest_image(plan: Plan, one: Configuration, cases: Sequence[CaseFingerprint]) -> list[int]:
    """The most voxels that a case has before cropping, at the spacing and along the axes of a configuration."""
    axes = plan.transpose_forward[3 - one.dimensions :]
    return [
        max(round(case.shape[axis] * case.spacing_mm[axis] / mm) for case in cases)
        for axis, mm in zip(axes, one.spacing_mm, strict=True)
    ]
