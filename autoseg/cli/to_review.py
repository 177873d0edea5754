"""What is said at the end of the cases that a person should look at."""

from typing import TYPE_CHECKING

from autoseg.errors import number_of

if TYPE_CHECKING:
    from rich.console import Console

    from autoseg.prediction.combined import EnsembleReport
    from autoseg.prediction.report import PredictionReport


def show_review(report: "PredictionReport | EnsembleReport", console: "Console") -> None:
    """The cases to look at, the least sure first."""
    for name, told in report.review.items():
        console.print(f"review {name}: {'; '.join(told)}", markup=False)
    if report.review:
        total = number_of(len(report.cases), "case")
        console.print(f"{len(report.review)} of {total} to look at, the least sure first", markup=False)
