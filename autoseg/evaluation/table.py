"""An evaluation as tables: one row per case and structure as CSV, one row per structure for the terminal."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.csv_table import write_csv
from autoseg.errors import number_of
from autoseg.evaluation.evaluate import Evaluation, Stratum
from autoseg.evaluation.metrics import about
from autoseg.evaluation.summary import Metrics, Summary

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = ("dice", "sensitivity", "specificity", "precision", "hd95_mm", "predicted_ml", "reference_ml")
"""The metrics of the table in the terminal, in order; the files hold all."""
COUNTS = ("true_positive", "false_positive", "false_negative", "true_negative")
UNDEFINED = "–"
MEAN = "mean"
WITH_SPREAD = ("dice", "hd95_mm")
"""Metrics whose standard deviation is shown in the terminal."""


def write_case_table(evaluation: Evaluation, path: Path) -> None:
    """Write one row per case and structure to a CSV file; an undefined metric leaves its field empty."""
    rows = []
    for case in evaluation.cases:
        for kind, structures in (("region", case.regions), ("label", case.labels)):
            for name, scores in structures.items():
                metrics = ("" if value is None else repr(value) for value in map(scores.metrics.get, evaluation.metrics))
                counts = (getattr(scores, count) for count in COUNTS)
                rows.append((case.id, kind, name, *counts, *metrics))
    write_csv(path, ("case", "kind", "structure", *COUNTS, *evaluation.metrics), rows)


def summary_rows(evaluation: Evaluation | Stratum) -> Iterator[tuple[str, str, Metrics]]:
    """(kind, name, summaries) of each region and each label, each kind followed by its mean over the structures."""
    for kind, structures, mean in (
        ("region", evaluation.regions, evaluation.foreground_regions),
        ("label", evaluation.labels, evaluation.foreground_labels),
    ):
        for name, metrics in structures.items():
            yield kind, name, metrics
        if len(structures) > 1:
            yield kind, MEAN, mean


def summary_table(evaluation: Evaluation) -> "Table":
    """The summary as a rich table of about 80 columns: means over the cases that counted, spread of Dice and distances.

    Below it stands which metrics are undefined in how many cases.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = [metric for metric in SHOWN if metric in evaluation.metrics]
    table = Table(
        title=f"Mean of {number_of(len(evaluation.cases), 'case')} (± standard deviation)",
        caption=_undefined(evaluation, shown),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("", overflow="fold", min_width=4)
    for metric in shown:
        table.add_column(about(metric).heading, justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    last = ""
    for kind, name, metrics in summary_rows(evaluation):
        if last and kind != last:
            table.add_section()
        last = kind
        cells = [_cell(metrics[metric], metric, spread=name != MEAN) for metric in shown]
        table.add_row(name, *cells, "" if name == MEAN else _cases(metrics), style="bold" if name == MEAN else None)
    return table


def interval_text(summary: Summary, decimals: int) -> str:
    """The 95 % interval of the mean as " [low, high]"; nothing where there is none."""
    if summary.low is None or summary.high is None:
        return ""
    return f" [{summary.low:.{decimals}f}, {summary.high:.{decimals}f}]"


def detail_table(evaluation: Evaluation | Stratum, metric: str, *, title: str) -> "Table":
    """All there is to say about one metric: mean with its interval, deviation, median, how many counted and did not."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", overflow="fold", min_width=4)
    for heading in ("mean", "95 % interval", "SD", "median", "counted", "undefined"):
        table.add_column(heading, justify="right", no_wrap=True)
    decimals = about(metric).decimals
    for _, name, metrics in summary_rows(evaluation):
        found = metrics[metric]
        values = (found.mean, found.sd, found.median)
        numbers = [UNDEFINED if value is None else f"{value:.{decimals}f}" for value in values]
        # Of the row of means, the deviation would be between structures and the counts those of structures.
        rest = ["", "", "", ""] if name == MEAN else [*numbers[1:], str(found.counted), str(found.undefined)]
        bounds = interval_text(found, decimals).strip() or UNDEFINED
        table.add_row(name, numbers[0], bounds, *rest, style="bold" if name == MEAN else None)
    return table


def _cell(summary: Summary, metric: str, *, spread: bool) -> str:
    if summary.mean is None:
        return UNDEFINED
    decimals = 1 if metric.endswith(("_mm", "_ml")) else 3
    # The deviation of a mean row is between structures: next to those between cases it would be misread.
    shown = f" ±{summary.sd:.{decimals}f}" if spread and summary.sd is not None and metric in WITH_SPREAD else ""
    return f"{summary.mean:.{decimals}f}{shown}"


def _cases(metrics: Metrics) -> str:
    first = next(iter(metrics.values()), None)
    return "" if first is None else str(first.counted + first.undefined)


def _undefined(evaluation: Evaluation, shown: Sequence[str]) -> str | None:
    """How many cases each shown metric left out of its mean, e.g. "ET: Dice 1, HD95 mm 2"; None if all counted."""
    lines = []
    for _, structure, metrics in summary_rows(evaluation):
        left_out = [f"{about(name).heading} {metrics[name].undefined}" for name in shown if metrics[name].undefined]
        if left_out and structure != MEAN:
            lines.append(f"{structure}: {', '.join(left_out)}")
    return "\n".join(["Undefined, so not in the mean (number of cases)", *lines]) if lines else None
