"""What `autoseg_evaluate` prints."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.cli.console import print_json
from autoseg.errors import listed, number_of
from autoseg.extend import resolve

if TYPE_CHECKING:
    from autoseg.evaluation.compare import PairedComparison
    from autoseg.evaluation.evaluate import Evaluation

COMPARISON_FILE = "comparison.json"


@dataclass(frozen=True)
class Show:
    """What the user wants to see: `metrics` in detail (none: the usual ones), in which form."""

    metrics: tuple[str, ...] = ()
    table_format: str | None = None
    as_json: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        from autoseg.evaluation.metrics import METRICS
        from autoseg.evaluation.papers import FORMATS

        if self.table_format is not None:
            resolve("table format", self.table_format, FORMATS)
        for metric in self.metrics:
            resolve("metric", metric, METRICS)

    @property
    def computed(self) -> tuple[str, ...]:
        """All metrics there are, and those of third parties that were named."""
        from autoseg.evaluation.metrics import DEFAULT_METRICS

        return tuple(dict.fromkeys((*DEFAULT_METRICS, *self.metrics)))

    def note(self, text: str) -> None:
        """Print a remark, unless the output is for machines or papers."""
        if not (self.quiet or self.as_json or self.table_format):
            print(text)


def show_evaluation(evaluation: "Evaluation", folder: Path, *, show: Show) -> None:
    """Print an evaluation in the form asked for."""
    from autoseg.evaluation.papers import FORMATS, PAPER_METRICS, paper_rows

    if show.as_json:
        print_json(evaluation.model_dump(mode="json"))
    elif show.table_format is not None:
        print(FORMATS[show.table_format](paper_rows(evaluation, show.metrics or PAPER_METRICS)), end="")
    elif not show.quiet:
        _show_tables(evaluation, folder, show)


def _show_tables(evaluation: "Evaluation", folder: Path, show: Show) -> None:
    from rich.console import Console

    from autoseg.evaluation.metrics import about
    from autoseg.evaluation.run import CASES_FILE, EVALUATION_FILE
    from autoseg.evaluation.table import detail_table, summary_table

    console = Console()
    console.print(summary_table(evaluation))
    for metric in show.metrics or ("dice",):
        console.print(detail_table(evaluation, metric, title=about(metric).heading))
        for stratum in evaluation.strata:
            cases = number_of(len(stratum.cases), "case")
            title = f"{about(metric).heading}, {evaluation.stratified_by} {stratum.value}: {cases}"
            console.print(detail_table(stratum, metric, title=title))
    for ids, what, other in (
        (evaluation.extra, "prediction", "reference"),
        (evaluation.missing, "reference", "prediction"),
    ):
        if ids:
            console.print(f"left out: {number_of(len(ids), what)} without a {other}: {listed(ids)}")
    console.print(f"Written: {folder / EVALUATION_FILE}, {folder / CASES_FILE}", soft_wrap=True)


def compare_sets(paths: tuple[Path, Path], *, one: "Callable[[Path], Evaluation]", show: Show, output: Path | None) -> None:
    """Compare two sets of predictions, folders or evaluations, and print what differs; written where `output` says."""
    from autoseg.artefacts import save
    from autoseg.evaluation.compare import compare
    from autoseg.evaluation.stored import evaluation_at

    first, second = (evaluation_at(path, otherwise=one) for path in paths)
    comparison = compare(first, second)
    if output is not None:
        save(comparison, output / COMPARISON_FILE)
    if show.as_json:
        print_json(comparison.model_dump(mode="json"))
    elif not show.quiet:
        _show_comparison(comparison, show)
        if output is not None:
            show.note(f"Written: {output / COMPARISON_FILE}")


def _show_comparison(comparison: "PairedComparison", show: Show) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from autoseg.evaluation.compare_table import COMPARED, comparison_rows, reading
    from autoseg.evaluation.papers import FORMATS

    metrics = show.metrics or tuple(metric for metric in COMPARED if metric in comparison.metrics)
    rows = comparison_rows(comparison, metrics)
    if show.table_format is not None:
        print(FORMATS[show.table_format](rows), end="")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", overflow="fold")
    for heading in rows[0][1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row)
    console = Console()
    console.print(f"first: {comparison.first}\nsecond: {comparison.second}", soft_wrap=True)
    console.print(table)
    console.print(reading(comparison, metrics), soft_wrap=True)
