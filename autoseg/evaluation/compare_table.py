"""A paired comparison as a table."""

from collections.abc import Sequence

from autoseg.errors import number_of
from autoseg.evaluation.compare import Difference, PairedComparison
from autoseg.evaluation.metrics import about

UNDEFINED = "–"
COMPARED = ("dice", "hd95_mm", "nsd")
"""The metrics shown unless others are named; the file holds all."""
SIGNIFICANT = 0.05


def comparison_rows(comparison: PairedComparison, metrics: Sequence[str]) -> list[list[str]]:
    """Headings, then a row for each metric and structure: both means, the difference with its interval, p, pairs."""
    rows = [["", "first", "second", "difference", "95 % interval", "p", "p (Holm)", "pairs"]]
    for metric in metrics:
        for structures in (comparison.regions, comparison.labels):
            rows += [_row(f"{about(metric).heading} {name}", values[metric], metric) for name, values in structures.items()]
    return rows


def reading(comparison: PairedComparison, metrics: Sequence[str]) -> str:
    """A sentence on what the comparison shows."""
    kinds = (("region", comparison.regions), ("label", comparison.labels))
    found = [
        f"{about(metric).heading} of {kind} {name}"
        for metric in metrics
        for kind, structures in kinds
        for name, values in structures.items()
        if (p := values[metric].corrected_p) is not None and p < SIGNIFICANT
    ]
    if found:
        return f"Different beyond chance (corrected p < {SIGNIFICANT}): {', '.join(found)}."
    return (
        f"Nothing shown differs beyond chance (corrected p < {SIGNIFICANT}) in {number_of(len(comparison.cases), 'case')}."
    )


def _row(name: str, found: Difference, metric: str) -> list[str]:
    decimals = about(metric).decimals
    numbers = [_number(value, decimals) for value in (found.first, found.second)]
    change = UNDEFINED if found.difference is None else f"{found.difference:+.{decimals}f}"
    has_interval = found.low is not None and found.high is not None
    bounds = f"[{found.low:+.{decimals}f}, {found.high:+.{decimals}f}]" if has_interval else UNDEFINED
    return [name, *numbers, change, bounds, _number(found.p, 4), _number(found.corrected_p, 4), str(found.pairs)]


def _number(value: float | None, decimals: int) -> str:
    return UNDEFINED if value is None else f"{value:.{decimals}f}"
