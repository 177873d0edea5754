"""What is said at the end of the cases that a person should look at."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from autoseg.prediction.combined import EnsembleReport
    from autoseg.prediction.report import PredictionReport


def show_review(report: "PredictionReport | EnsembleReport", console: "Console") -> None:
    """The cases to look at, the least sure first."""
    for name, told in report.review.items():
        console.print(f"review {name}: {'; '.join(told)}", markup=False)
    if report.review:
        console.print(f"{len(report.review)} of {len(report.cases)} cases to look at, the least sure first", markup=False)
