"""Weights of classes in the loss, from how often they occur."""

from collections.abc import Sequence

from autoseg.fingerprint.fingerprint import CaseFingerprint
from autoseg.planning.plan import Decision, Plan

WEIGHTED = "weighted_dice"
"""The loss that weighs classes where nobody says how."""


def with_counted_weights(plan: Plan, cases: Sequence[CaseFingerprint]) -> Plan:
    """The plan with class weights in numbers, where it asks for them by frequency, and a Decision that says so.

    Each weight is inversely proportional to the voxels of the class (background included) or region in all `cases`; they
    average 1. What never occurs weighs nothing.
    """
    asked = plan.training.class_weights
    if asked != "inverse_frequency" and not (asked is None and plan.training.loss == WEIGHTED):
        return plan
    counts = _voxels(plan, cases)
    weights = _inverse(list(counts.values()))
    decision = Decision(
        name="class weights",
        value=", ".join(f"{name} {weight:g}" for name, weight in zip(counts, weights, strict=True)),
        because="inversely proportional to voxels: " + ", ".join(f"{name} {count}" for name, count in counts.items()),
        source=f"training.loss={plan.training.loss}" if asked is None else f"training.class_weights={asked}",
    )
    training = plan.training.model_copy(update={"class_weights": weights})
    return plan.model_copy(update={"training": training, "decisions": (*plan.decisions, decision)})


def _voxels(plan: Plan, cases: Sequence[CaseFingerprint]) -> dict[str, int]:
    """Voxels of each output of the network, by name."""
    labels = plan.labels
    parts: dict[str, tuple[int, ...]] = {label.name: (label.value,) for label in labels.labels}
    if labels.target == "regions":
        parts = {region.name: region.values for region in labels.regions}
    return {
        name: sum(case.label_voxels.get(value, 0) for case in cases for value in values) for name, values in parts.items()
    }


def _inverse(counts: Sequence[int]) -> tuple[float, ...]:
    raw = [1 / count if count else 0.0 for count in counts]
    mean = sum(raw) / len(raw)
    # Six digits: a plan is read by people.
    return tuple(float(f"{value / mean:.6g}") for value in raw) if mean else (1.0,) * len(raw)
