"""A plan as a page that a person can read and argue with."""

import textwrap
from collections.abc import Sequence

from autoseg.planning.plan import Configuration, Decision, Plan

WIDTH = 110


def explain(plan: Plan) -> str:
    """Every decision of the plan: what was chosen, the numbers behind it, the source of the rule, and how to override."""
    title = f"Plan for {plan.dataset} (preset {plan.preset}, {plan.gpu_memory_gb:g} GB)"
    sections = [title, "=" * len(title), ""]
    sections += [line for decision in plan.decisions for line in _section(decision)]
    advice = "Override any value with --set, for example --set training.epochs=20"
    example = next((name for name in ("3d_fullres", "2d") if name in plan.configurations), None)
    if example is not None:
        patch = ",".join(map(str, plan.configurations[example].patch_size))
        advice += f" or --set {example}.patch_size={patch}"
    return "\n".join([*sections, advice + "."])


def _section(decision: Decision) -> Sequence[str]:
    because = textwrap.wrap(f"because {decision.because}", WIDTH, initial_indent="    ", subsequent_indent="    ")
    return [f"{decision.name}: {decision.value}", *because, f"    source: {decision.source}", ""]


def table(plan: Plan) -> list[tuple[str, ...]]:
    """One row per configuration, the first holds the headings: name, spacing, median image, patch, batch, network."""
    head = ("configuration", "spacing (mm)", "median image", "patch", "batch", "network")
    return [head, *(_row(one) for one in plan.configurations.values())]


def _row(one: Configuration) -> tuple[str, ...]:
    network = f"{one.network.kind}, {len(one.network.strides)} stages"
    if one.previous_stage:
        network += f", after {one.previous_stage}"
    sizes = (_times(one.spacing_mm), _times(one.median_shape), _times(one.patch_size))
    return (one.name, *sizes, str(one.batch_size), network)


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
