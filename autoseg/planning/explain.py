"""A plan as a page, or a document for machines, that one can argue with."""

import textwrap
from collections.abc import Sequence

from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.planning.alternatives import NORMALISATION, Change, alternatives
from autoseg.planning.facts import Facts
from autoseg.planning.fitting import gigabytes
from autoseg.planning.plan import Configuration, Decision, Plan
from autoseg.planning.regions import PaintedRegion, painted_regions

WIDTH = 110
BY_HAND = "set by hand: "


class ExplainedDecision(BaseModel):
    """A decision, what it would be given something else, and the setting that overrides it (None: no setting does)."""

    model_config = FROZEN
    name: str
    value: str
    because: str
    source: str
    changes: tuple[Change, ...]
    override: str | None


class Explanation(BaseModel):
    """Every decision of a plan, and its regions in the order of painting."""

    model_config = FROZEN
    dataset: str
    preset: str
    gpu_memory_gb: float
    decisions: tuple[ExplainedDecision, ...]
    regions: tuple[PaintedRegion, ...]


def explain(plan: Plan, facts: Facts) -> Explanation:
    """Why `plan` is as it is, and what would change it, found by planning `facts` again under other conditions."""
    changes = alternatives(facts, preset=plan.preset, gpu_memory_gb=plan.gpu_memory_gb)
    return Explanation(
        dataset=plan.dataset,
        preset=plan.preset,
        gpu_memory_gb=plan.gpu_memory_gb,
        decisions=tuple(
            ExplainedDecision(**dict(one), changes=changes.get(one.name, ()), override=_override(one, plan))
            for one in plan.decisions
        ),
        regions=painted_regions(plan.labels, label_voxels=facts.label_voxels),
    )


def _override(decision: Decision, plan: Plan) -> str | None:
    """The setting that says the same as the decision; changing its value argues with it."""
    kind, _, subject = decision.name.partition(" of ")
    if subject in plan.configurations:
        one = plan.configurations[subject]
        known = {
            "patch": f"patch_size={_listed(one.patch_size)}",
            "batch": f"batch_size={one.batch_size}",
            "network": f"network.features={_listed(one.network.features)}",
        }
        return f"{subject}.{known[kind]}" if kind in known else None
    example = _largest(plan)
    if kind == "normalisation" and subject in plan.channels:
        index = plan.channels.index(subject)
        return f"{example.name}.normalisation.{index}.scheme={example.normalisation[index].scheme}"
    return {
        "target spacing": f"{example.name}.spacing_mm={_listed(example.spacing_mm)}",
        "mirror axes": f"training.mirror_axes={_listed(plan.training.mirror_axes) or '[]'}",
        "loss": f"training.loss={plan.training.loss}",
    }.get(decision.name)


def _largest(plan: Plan) -> Configuration:
    return plan.configurations.get("3d_fullres") or plan.configurations["2d"]


def page(found: Explanation) -> str:
    """The explanation for people: the data, then each configuration, then what was set by hand; last the regions."""
    title = f"Plan for {found.dataset} (preset {found.preset}, {found.gpu_memory_gb:g} GB)"
    lines = [title, "=" * len(title), ""]
    for head, decisions in _sections(found.decisions).items():
        lines += [head, "-" * len(head), "", *(line for same in _alike(decisions) for line in _decision(*same))]
    if found.regions:
        lines += ["Regions in the order of painting", *_aligned(region_table(found.regions)), ""]
    return "\n".join([*lines, "Override any value with --set KEY=VALUE, for example --set training.epochs=20."])


def _sections(decisions: Sequence[ExplainedDecision]) -> dict[str, list[ExplainedDecision]]:
    sections: dict[str, list[ExplainedDecision]] = {"Data": []}
    by_hand = []
    for one in decisions:
        kind, _, subject = one.name.partition(" of ")
        if one.name.startswith(BY_HAND):
            by_hand.append(one)
        elif subject and kind != "normalisation":
            sections.setdefault(subject.partition(" ")[0], []).append(one)
        else:
            sections["Data"].append(one)
    return {**sections, "Set by hand": by_hand} if by_hand else sections


def _alike(decisions: Sequence[ExplainedDecision]) -> list[list[ExplainedDecision]]:
    """The decisions in their order, those about channels that are treated alike together."""
    groups: dict[tuple[object, ...], list[ExplainedDecision]] = {}
    for index, one in enumerate(decisions):
        is_channel = one.name.startswith(NORMALISATION)
        groups.setdefault((one.value, one.because) if is_channel else (index,), []).append(one)
    return list(groups.values())


def _decision(one: ExplainedDecision, *others: ExplainedDecision) -> list[str]:
    """A decision in lines; `others` say the same of other channels."""
    name = ", ".join([one.name, *(other.name.removeprefix(NORMALISATION) for other in others)])
    lines = [f"{name}: {one.value}", *_wrapped(f"because {one.because}"), f"    source: {one.source}"]
    for each in (one, *others):
        for change in each.changes:
            given = change.given.replace("the channel", each.name.removeprefix(NORMALISATION)) if others else change.given
            lines += _wrapped(f"with {given}: {change.value}" if given[0] == "-" else f"if {given}: {change.value}")
    overrides = [f"    override: --set {each.override}" for each in (one, *others) if each.override]
    return [*lines, *overrides, ""]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False)


def region_table(regions: Sequence[PaintedRegion]) -> list[tuple[str, ...]]:
    """One row per region, the first holds the headings: order, region, labels inside, value painted, its voxels."""
    head = ("order", "region", "labels inside", "writes", "voxels of it in training")
    rows = [
        (
            str(one.order),
            one.name,
            ", ".join(map(str, one.values)),
            f"{one.writes} ({one.label})",
            "not counted" if one.voxels is None else str(one.voxels),
        )
        for one in regions
    ]
    return [head, *rows]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = (("    " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))).rstrip() for row in rows)
    return list(cells)


def table(plan: Plan) -> list[tuple[str, ...]]:
    """One row per configuration, the first holds the headings: name, spacing, images, patch, batch, memory, network."""
    head = ("configuration", "spacing (mm)", "median image, cropped", "patch", "batch", "memory / at most", "network")
    return [head, *(_row(one) for one in plan.configurations.values())]


def _row(one: Configuration) -> tuple[str, ...]:
    network = f"{one.network.kind}, {len(one.network.strides)} stages"
    if one.previous_stage:
        network += f", after {one.previous_stage}"
    sizes = (_times(one.spacing_mm), _times(one.median_shape), _times(one.patch_size))
    memory = f"{gigabytes(one.predicted_training_bytes)} / {gigabytes(one.memory_budget_bytes)}"
    return (one.name, *sizes, str(one.batch_size), memory, network)


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:.15g}" for value in values)
