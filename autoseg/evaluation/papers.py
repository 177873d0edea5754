"""An evaluation as a table for a paper: LaTeX or Markdown."""

from collections.abc import Callable, Mapping, Sequence

from autoseg.evaluation.evaluate import Evaluation, Stratum
from autoseg.evaluation.metrics import about
from autoseg.evaluation.summary import Summary
from autoseg.evaluation.table import MEAN, interval_text, summary_rows

PAPER_METRICS = ("dice", "sensitivity", "specificity", "hd95_mm", "nsd")
"""What a paper's table shows unless it is told otherwise."""

Rows = Sequence[Sequence[str]]


def latex_table(rows: Rows) -> str:
    """Rows, the first of them headings, as a `tabular` with booktabs rules."""
    lines = [" & ".join(map(_latex, row)) + r" \\" for row in rows]
    columns = "l" + "r" * (len(rows[0]) - 1)
    body = "\n".join(lines[1:])
    return f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{lines[0]}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"


def markdown_table(rows: Rows) -> str:
    """Rows, the first of them headings, as a table of Markdown."""
    ruler = ["---", *["---:"] * (len(rows[0]) - 1)]
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in (rows[0], ruler, *rows[1:])]
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)


FORMATS: Mapping[str, Callable[[Rows], str]] = {"latex": latex_table, "markdown": markdown_table}
"""How a table can be written, by name."""


def paper_rows(evaluation: Evaluation, metrics: Sequence[str]) -> Rows:
    """Headings, then a row for each structure: mean, 95 % interval and number of cases that counted, per metric.

    With strata, these follow for each of them.
    """
    rows = [["", *(about(metric).heading for metric in metrics)]]
    rows += _rows(evaluation, metrics, prefix="")
    for stratum in evaluation.strata:
        rows += _rows(stratum, metrics, prefix=f"{stratum.value}: ")
    return rows


def _rows(group: Evaluation | Stratum, metrics: Sequence[str], *, prefix: str) -> list[list[str]]:
    return [
        [
            f"{prefix}{name}{f' of {kind}s' if name == MEAN else ''}",
            *(_cell(values[metric], metric, counts=name != MEAN) for metric in metrics),
        ]
        for kind, name, values in summary_rows(group)
    ]


def _cell(summary: Summary, metric: str, *, counts: bool) -> str:
    if summary.mean is None:
        return "–"
    decimals = about(metric).decimals
    counted = f" (n={summary.counted})" if counts else ""  # in the row of means it would be that of structures
    return f"{summary.mean:.{decimals}f}{interval_text(summary, decimals)}{counted}"


def _latex(cell: str) -> str:
    for plain, escaped in (("\\", r"\textbackslash "), ("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("#", r"\#"), ("–", "--")):
        cell = cell.replace(plain, escaped)
    return cell
