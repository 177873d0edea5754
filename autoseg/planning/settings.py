"""Values of a plan set by hand: `training.epochs=20`, `3d_fullres.patch_size=96,96,96`."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from autoseg.errors import PlanError, unknown_name
from autoseg.planning.facts import label_entries
from autoseg.planning.plan import Configuration, Decision, Plan, TrainingSettings
from autoseg.planning.topology import network_cost, total_stride

M = TypeVar("M", bound=BaseModel)

CONSEQUENCES = ("name", "dimensions", "cost", "median_shape", "previous_stage")
"""Fields of a configuration that follow from others and cannot be set."""

_WORDS = {"true": "true", "yes": "true", "false": "false", "no": "false", "none": "null", "null": "null"}


def apply_settings(plan: Plan, settings: Sequence[str]) -> Plan:
    """The plan with each `KEY=VALUE` of `settings` applied in turn and recorded as a decision.

    Keys start with "training" or the name of a configuration. Raises UnknownNameError for a key that does not exist and
    PlanError for a value of the wrong kind or one that does not fit the network, naming the nearest that do.
    """
    for setting in settings:
        plan = _applied(plan, setting)
    return plan


def _applied(plan: Plan, setting: str) -> Plan:
    key, equals, text = setting.partition("=")
    key = key.strip()
    group, *path = key.split(".")
    if not equals or not path:
        raise PlanError(f"setting {setting!r}: expected KEY=VALUE, for example training.epochs=20.")
    update: dict[str, Any]
    if group == "training":
        training, before = _with_value(plan.training, path, text, key=key)
        update = {"training": _checked_training(training, key)}
    elif group in plan.configurations:
        old = plan.configurations[group]
        new, before = _with_value(old, path, text, key=key)
        update = {"configurations": {**plan.configurations, group: _checked_configuration(old, new, plan=plan, key=key)}}
    else:
        raise unknown_name("setting", group, ["training", *plan.configurations])
    decision = Decision(name=f"set by hand: {key}", value=text.strip(), because=f"was {_text(before)}", source="--set")
    others = tuple(other for other in plan.decisions if other.name != decision.name)
    return plan.model_copy(update={**update, "decisions": (*others, decision)})


def _with_value(model: M, path: Sequence[str], text: str, *, key: str) -> tuple[M, Any]:
    """The model with the field at `path` replaced, and what stood there before."""
    field, *rest = path
    known = [name for name in type(model).model_fields if not isinstance(model, Configuration) or name not in CONSEQUENCES]
    if field not in known:
        prefix = key[: len(key) - len(".".join(path))]
        raise unknown_name("setting", prefix + field, [prefix + name for name in known])
    before = getattr(model, field)
    if not rest:
        return _replaced(model, field, _parsed(type(model), field, text, key=key), key=key), before
    if isinstance(before, BaseModel):
        inner, old = _with_value(before, rest, text, key=key)
        return _replaced(model, field, inner, key=key), old
    if isinstance(before, tuple) and rest[0].isdigit() and int(rest[0]) < len(before) and len(rest) > 1:
        index = int(rest[0])
        inner, old = _with_value(before[index], rest[1:], text, key=key)
        return _replaced(model, field, (*before[:index], inner, *before[index + 1 :]), key=key), old
    raise PlanError(f"setting {key}: {field} has no part {rest[0]!r}. It holds {_text(before)}.")


def _replaced(model: M, field: str, value: Any, *, key: str) -> M:
    try:
        return type(model).model_validate({**dict(model), field: value})
    except ValidationError as error:
        raise PlanError(f"setting {key}: {error.errors()[0]['msg']}.") from error


def _parsed(model: type[BaseModel], field: str, text: str, *, key: str) -> Any:
    """The value that `text` stands for in a field of its type; lists are written 1,2,3."""
    info = model.model_fields[field]
    # mypy does not know a type that is only there at run time.
    kind = TypeAdapter[Any](Annotated[info.annotation, info], config=ConfigDict(strict=True))  # type: ignore[arg-type]
    refusal = None
    for candidate in _readings(text.strip()):
        try:
            return kind.validate_json(candidate)
        except ValidationError as error:
            refusal = refusal or error
    assert refusal is not None, "every text has a reading"
    expected = refusal.errors()[0]["msg"].removeprefix("Input should be ")
    raise PlanError(f"setting {key}: expected {expected}, found {text!r}.")


def _readings(text: str) -> Iterator[str]:
    """JSON texts that `text` may mean: as it is, as a word, as a list, as a string."""
    candidates = (_WORDS.get(text.lower(), text), f"[{text}]", json.dumps(text))
    for candidate in candidates:
        try:
            json.loads(candidate)
        except ValueError:
            continue
        yield candidate


def _checked_training(training: TrainingSettings, key: str) -> TrainingSettings:
    axes = training.mirror_axes
    if len(set(axes)) != len(axes) or not set(axes) <= {0, 1, 2}:
        raise PlanError(f"setting {key}: expected different axes out of 0, 1, 2 (z, y, x), found {_text(axes)}.")
    return training


def _checked_configuration(before: Configuration, after: Configuration, *, plan: Plan, key: str) -> Configuration:
    """The configuration with what follows from the change; raises PlanError when its parts do not fit together."""
    _check_network(after, key)
    _check_patch(after, key)
    if len(after.spacing_mm) != after.dimensions or not all(math.isfinite(mm) and mm > 0 for mm in after.spacing_mm):
        raise PlanError(
            f"setting {key}: expected {after.dimensions} positive numbers of mm, found {_text(after.spacing_mm)}."
        )
    if len(after.normalisation) != len(plan.channels):
        raise PlanError(f"setting {key}: expected an entry for each channel ({', '.join(plan.channels)}).")
    spacings = zip(before.median_shape, before.spacing_mm, after.spacing_mm, strict=True)
    shape = before.median_shape
    if before.spacing_mm != after.spacing_mm:
        shape = tuple(float(max(round(n * old / new), 1)) for n, old, new in spacings)
    return after.model_copy(update={"cost": _cost(after, plan), "median_shape": shape})


def _cost(configuration: Configuration, plan: Plan) -> int:
    network = configuration.network
    return network_cost(
        configuration.patch_size,
        strides=network.strides,
        features=network.features,
        encoder_blocks=network.encoder_blocks,
        decoder_blocks=network.decoder_blocks,
        is_residual=network.kind == "residual_unet",
        outputs=label_entries(plan.labels),
    )


def _check_network(configuration: Configuration, key: str) -> None:
    network, stages = configuration.network, len(configuration.network.strides)
    lengths = {
        "features": (len(network.features), stages),
        "kernels": (len(network.kernels), stages),
        "encoder_blocks": (len(network.encoder_blocks), stages),
        "decoder_blocks": (len(network.decoder_blocks), stages - 1),
    }
    for name, (found, expected) in lengths.items():
        if found != expected:
            raise PlanError(
                f"setting {key}: {configuration.name}.network.{name}: expected {expected} entries for {stages} stages, "
                f"found {found}. Set features, kernels, strides and blocks of all stages in a plan file instead."
            )
    for axes in (*network.strides, *network.kernels):
        if len(axes) != configuration.dimensions or min(axes) < 1:
            raise PlanError(f"setting {key}: expected {configuration.dimensions} positive numbers per stage, found {axes}.")
    if any(size % 2 == 0 for kernel in network.kernels for size in kernel):
        raise PlanError(f"setting {key}: expected odd kernel sizes; an even one shifts the output by half a voxel.")
    if min(*network.features, *network.encoder_blocks, *network.decoder_blocks, 1) < 1:
        raise PlanError(f"setting {key}: expected positive numbers of features and blocks.")


def _check_patch(configuration: Configuration, key: str) -> None:
    patch, divisor = configuration.patch_size, total_stride(configuration.network.strides)
    if len(patch) != len(divisor):
        raise PlanError(
            f"setting {key}: expected {len(divisor)} numbers of voxels, found {_text(patch)}. "
            f"For example {configuration.name}.patch_size={_text(tuple(4 * d for d in divisor))}."
        )
    if all(n > 0 and n % d == 0 for n, d in zip(patch, divisor, strict=True)):
        return
    below = tuple(max(n // d, 1) * d for n, d in zip(patch, divisor, strict=True))
    above = tuple(max(-(-n // d), 1) * d for n, d in zip(patch, divisor, strict=True))
    valid = _text(below) if below == above else f"{_text(below)} or {_text(above)}"
    raise PlanError(
        f"setting {key}: a patch of {_text(patch)} does not fit the network, whose strides ask for multiples of "
        f"{_text(divisor)}. The nearest that fit: {valid}."
    )


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
