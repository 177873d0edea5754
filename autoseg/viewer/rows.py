"""The scores of a case as the page takes them: those against a reference, and what a prediction says of itself."""

from collections.abc import Mapping
from typing import Any, Literal

from autoseg.evaluation.metrics import About, about
from autoseg.evaluation.scores import CaseScores
from autoseg.prediction.report import PredictionReport

Kind = Literal["regions", "labels"]
KINDS: tuple[Kind, ...] = ("regions", "labels")
Row = Mapping[Kind, Mapping[str, Mapping[str, float | None]]]
"""The metrics of each region and of each label of a case, by name."""

SURENESS: Mapping[str, About] = {
    "expected_dice": About("Expected Dice", "overlap", "high"),
    "entropy_bits": About("Entropy, bits", "overlap", "low"),
}
"""What predictions say of themselves, which needs no reference."""


def of_scores(case: CaseScores) -> Row:
    """The metrics of a case that was compared with its reference."""
    return {
        "regions": {name: dict(scores.metrics) for name, scores in case.regions.items()},
        "labels": {name: dict(scores.metrics) for name, scores in case.labels.items()},
    }


def of_report(report: PredictionReport | None) -> dict[str, Row]:
    """How sure each structure of each case is, by case id; empty where a run did not ask for it."""
    if report is None:
        return {}
    regions = {region.name for region in report.labels.regions}
    found: dict[str, Row] = {}
    for case in report.cases:
        values = {
            name: {metric: getattr(one, metric) for metric in SURENESS} for name, one in (case.uncertainty or {}).items()
        }
        if values:
            found[case.id] = {
                "regions": {name: row for name, row in values.items() if name in regions},
                "labels": {name: row for name, row in values.items() if name not in regions},
            }
    return found


def joined(scores: Row, others: Row) -> Row:
    """The metrics of both, structure by structure."""
    return {
        kind: {
            name: {**scores.get(kind, {}).get(name, {}), **others.get(kind, {}).get(name, {})}
            for name in {**scores.get(kind, {}), **others.get(kind, {})}
        }
        for kind in KINDS
    }


def metric_described(name: str) -> dict[str, Any]:
    """How the page shows a metric: its heading, its decimals, and whether "high" or "low" is better (None: neither)."""
    known = SURENESS.get(name) or about(name)
    return {"name": name, "heading": known.heading, "decimals": known.decimals, "better": known.better}
