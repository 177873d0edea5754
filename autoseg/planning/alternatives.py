"""What would change a plan: the same data set planned for other GPUs, with other presets, under other channel names."""

from collections.abc import Mapping
from dataclasses import replace

from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.errors import AutosegError
from autoseg.planning.facts import Facts
from autoseg.planning.plan import Plan
from autoseg.planning.planner import make_plan
from autoseg.planning.presets import PRESETS
from autoseg.planning.rules import NORMALISATIONS

GPUS_GB = (4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 80)
"""Memory of the GPUs that are about."""
SHOWN_EACH_WAY = 2
"""Changes shown for less and for more memory, the nearest first."""

NORMALISATION = "normalisation of "


class Change(BaseModel):
    """What a decision would be `given` something else."""

    model_config = FROZEN
    given: str
    value: str


def alternatives(facts: Facts, *, preset: str, gpu_memory_gb: float) -> dict[str, tuple[Change, ...]]:
    """For each decision of the plan for `facts`, by name, what would change it; all found by planning again.

    Budgets under which nothing fits are left out.
    """
    values = _values(make_plan(facts, preset=preset, gpu_memory_gb=gpu_memory_gb))
    found: dict[str, list[Change]] = {name: [] for name in values}
    smaller = [gb for gb in reversed(GPUS_GB) if gb < gpu_memory_gb]
    larger = [gb for gb in GPUS_GB if gb > gpu_memory_gb]
    for budgets in (smaller, larger):
        _walk(found, values, {f"--gpu-memory {gb}": _plan(facts, preset=preset, gb=gb) for gb in budgets})
    for other in PRESETS:
        if other != preset:
            _walk(found, values, {f"--preset {other}": _plan(facts, preset=other, gb=None)})
    for index, name in enumerate(facts.channels):
        found[NORMALISATION + name] += _if_renamed(facts, index, preset=preset, gpu_memory_gb=gpu_memory_gb)
    return {name: tuple(changes) for name, changes in found.items()}


def _walk(found: dict[str, list[Change]], values: Mapping[str, str], tried: Mapping[str, Plan | None]) -> None:
    """Note each new value that a decision takes on along the plans `tried`, at most SHOWN_EACH_WAY of them."""
    last, shown = dict(values), dict.fromkeys(values, 0)
    for given, plan in tried.items():
        now = _values(plan) if plan is not None else values
        for name in values:
            value = now.get(name, "none")
            if value not in (last[name], values[name]) and shown[name] < SHOWN_EACH_WAY:
                found[name].append(Change(given=given, value=value))
                last[name] = value
                shown[name] += 1


def _plan(facts: Facts, *, preset: str, gb: float | None) -> Plan | None:
    try:
        return make_plan(facts, preset=preset, gpu_memory_gb=gb)
    except AutosegError:
        return None


def _values(plan: Plan) -> dict[str, str]:
    return {decision.name: decision.value for decision in plan.decisions}


def _if_renamed(facts: Facts, index: int, *, preset: str, gpu_memory_gb: float) -> list[Change]:
    """The normalisation of a channel if it were called CT, or MRI where it is CT."""
    is_ct = NORMALISATIONS.get(facts.channels[index].casefold()) == "ct"
    name = "MRI" if is_ct else "CT"
    if not (is_ct or facts.intensities):
        return []
    channels = (*facts.channels[:index], name, *facts.channels[index + 1 :])
    plan = _plan(replace(facts, channels=channels), preset=preset, gb=gpu_memory_gb)
    decisions = [one for one in plan.decisions if one.name.startswith(NORMALISATION)] if plan is not None else []
    return [Change(given=f"the channel were called {name}", value=decisions[index].value)] if decisions else []
