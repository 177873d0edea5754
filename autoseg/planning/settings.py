"""Values of a plan set by hand: `training.epochs=20`, `3d_fullres.patch_size=96,96,96`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from autoseg.errors import PlanError, unknown_name
from autoseg.planning.consistency import check_class_weights, check_configuration, check_schedule
from autoseg.planning.facts import label_entries
from autoseg.planning.fitting import with_memory
from autoseg.planning.mirroring import BY_NAME, exchange_of, pairs_by_name, with_pairs
from autoseg.planning.names import TRAINING_NAMES, check_loss, check_name
from autoseg.planning.plan import Configuration, Decision, Plan, TrainingSettings
from autoseg.planning.topology import network_cost

M = TypeVar("M", bound=BaseModel)

CONSEQUENCES = (
    *("name", "dimensions", "cost", "median_shape", "previous_stage"),
    *("predicted_training_bytes", "predicted_prediction_bytes", "memory_budget_bytes"),
)
"""Fields of a configuration that follow from others and cannot be set."""

BY_HAND = "--set"
INHERITED_FROM = "3d_fullres"
CASCADE = "3d_cascade_fullres"
"""The cascade's second network works at full resolution, and so takes over what is set there."""

PAIRS = "training.mirror_pairs"
STEPS, VALIDATION = "training.iterations_per_epoch", "training.validation_iterations"

_WORDS = {"true": "true", "yes": "true", "false": "false", "no": "false", "none": "null", "null": "null"}


def apply_settings(plan: Plan, settings: Sequence[str], *, source: str = BY_HAND) -> Plan:
    """The plan with each `KEY=VALUE` of `settings` applied and recorded as a decision; they are judged together.

    `source` says who sets them. Keys start with "training" or the name of a configuration. What is set for 3d_fullres
    holds for the cascade too, where the two were equal. Fewer steps in an epoch than planned bring as many times fewer
    validation batches, where their number is not set as well. Raises UnknownNameError for a key or a name that does not
    exist and PlanError for a value of the wrong kind or one that does not fit the network, naming the nearest that do.
    """
    changed = plan
    keys: dict[str, list[str]] = {}
    for setting in settings:
        key, text = _split(setting)
        if (key, text) == (PAIRS, BY_NAME):
            text = json.dumps(pairs_by_name(plan.labels))
        group = key.partition(".")[0]
        changed, before = _applied(changed, key, text, source=source)
        keys.setdefault(group, []).append(key)
        if group == INHERITED_FROM and CASCADE in plan.configurations:
            inherited = CASCADE + key.removeprefix(group)
            if _value(changed, inherited) == before:
                changed, _ = _applied(changed, inherited, text, source=source, note=f"; passed on from {key}")
                keys.setdefault(CASCADE, []).append(key)
    named = keys.get("training", ())
    if PAIRS in named:
        changed = with_pairs(changed, keeps_axes="training.mirror_axes" in named)
    if source == BY_HAND and STEPS in named and VALIDATION not in named:
        changed = _validating_less(plan, changed)
    return _checked(plan, changed, keys)


def _validating_less(before: Plan, after: Plan) -> Plan:
    """The plan with as many validation batches for a step as before, at least one, where its epochs have fewer steps."""
    share = after.training.iterations_per_epoch / before.training.iterations_per_epoch
    batches = max(1, round(share * before.training.validation_iterations))
    if batches >= before.training.validation_iterations:
        return after
    return _applied(after, VALIDATION, str(batches), source=BY_HAND, note=f"; as many times fewer as {STEPS}")[0]


def _split(setting: str) -> tuple[str, str]:
    key, equals, text = setting.partition("=")
    if not equals or "." not in key:
        raise PlanError(f"setting {setting!r}: expected KEY=VALUE, for example training.epochs=20.")
    return key.strip(), text.strip()


def _applied(plan: Plan, key: str, text: str, *, source: str, note: str = "") -> tuple[Plan, Any]:
    """The plan with one value changed, and what stood there before."""
    group, *path = key.split(".")
    update: dict[str, Any]
    if group == "training":
        training, before = _with_value(plan.training, path, text, key=key)
        update = {"training": training}
    elif group in plan.configurations:
        new, before = _with_value(plan.configurations[group], path, text, key=key)
        update = {"configurations": {**plan.configurations, group: new}}
    else:
        raise unknown_name("setting", group, ["training", *plan.configurations])
    name = f"set by {'hand' if source == BY_HAND else source}: {key}"
    decision = Decision(name=name, value=text, because=f"was {_text(before)}{note}", source=source)
    others = tuple(other for other in plan.decisions if other.name != decision.name)
    return plan.model_copy(update={**update, "decisions": (*others, decision)}), before


def _value(plan: Plan, key: str) -> Any:
    group, *path = key.split(".")
    found: Any = plan.configurations[group]
    for part in path:
        found = found[int(part)] if isinstance(found, tuple) else getattr(found, part)
    return found


def _checked(before: Plan, after: Plan, keys: Mapping[str, Sequence[str]]) -> Plan:
    """The plan with what follows from its new values; raises PlanError where they do not fit together."""
    configurations = dict(after.configurations)
    for group, changed in keys.items():
        key = ", ".join(dict.fromkeys(changed))
        if group == "training":
            _check_training(before.training, after, key)
        else:
            one = _with_consequences(before.configurations[group], configurations[group])
            check_configuration(one, plan=after, key=key)
            configurations[group] = one.model_copy(update={"cost": _cost(one, after)})
    return with_memory(after.model_copy(update={"configurations": configurations})) if keys else after


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
    first, *others = refusal.errors()
    # A value of several kinds has a problem with each of them.
    messages = [first, *(other for other in others if other["loc"][:1] != first["loc"][:1])]
    expected = " or ".join(dict.fromkeys(one["msg"].removeprefix("Input should be ") for one in messages))
    bound = next((first["ctx"][limit] for limit in ("ge", "le") if limit in first.get("ctx", {})), None)
    nearest = "" if bound is None else f" The nearest: {bound:g}."
    raise PlanError(f"setting {key}: expected {expected}, found {text!r}.{nearest}")


def _readings(text: str) -> Iterator[str]:
    """JSON texts that `text` may mean: as it is, as a word, as a list, as a string."""
    candidates = (_WORDS.get(text.lower(), text), f"[{text}]", json.dumps(text))
    for candidate in candidates:
        try:
            json.loads(candidate)
        except ValueError:
            continue
        yield candidate


def _check_training(before: TrainingSettings, plan: Plan, key: str) -> None:
    training = plan.training
    axes = training.mirror_axes
    if len(set(axes)) != len(axes) or not set(axes) <= {0, 1, 2}:
        raise PlanError(f"setting {key}: expected different axes out of 0, 1, 2 (z, y, x), found {_text(axes)}.")
    for field, (kind, known) in TRAINING_NAMES.items():
        name = getattr(training, field)
        if name != getattr(before, field):
            check_name(kind, name, known)
    if training.loss != before.loss:
        check_loss(training.loss, plan.labels.target)
    if isinstance(training.class_weights, tuple):
        check_class_weights(training.class_weights, plan.labels)
    exchange_of(training, plan.labels)
    check_schedule(training)


def _with_consequences(before: Configuration, after: Configuration) -> Configuration:
    """The configuration with the median shape that its spacing gives."""
    is_spacing = len(after.spacing_mm) == len(before.spacing_mm) and all(mm > 0 for mm in after.spacing_mm)
    if before.spacing_mm == after.spacing_mm or not is_spacing:
        return after
    spacings = zip(before.median_shape, before.spacing_mm, after.spacing_mm, strict=True)
    return after.model_copy(update={"median_shape": tuple(float(max(round(n * a / b), 1)) for n, a, b in spacings)})


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


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
