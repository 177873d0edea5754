"""`autoseg_ensemble`: average the probabilities of earlier predictions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.beside_options import Classes, JsonLines, Quiet, Uncertainty, weights_of_each
from autoseg.cli.console import bars, command_line, end_with_failures, print_json_line
from autoseg.cli.folds import numbers, words
from autoseg.cli.model_choice import selected_rules
from autoseg.cli.to_review import show_review
from autoseg.errors import number_of

if TYPE_CHECKING:
    from autoseg.prediction.combined import EnsembleReport


def ensemble(
    *,
    folders: Annotated[
        list[Path],
        typer.Argument(help="Two or more folders that autoseg_predict --probabilities wrote.", metavar="FOLDER..."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the label maps.", metavar="OUT")],
    weights: Annotated[list[str] | None, weights_of_each("folder")] = None,
    selection: Annotated[
        str | None,
        typer.Option(help="Correct label maps as autoseg_select chose: a selection.json, or a data set.", metavar="NAME"),
    ] = None,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where that data set lies.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write the mean as CASE_probabilities.nii.gz, a volume for each class.")
    ] = False,
    classes: Classes = None,
    uncertainty: Uncertainty = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave cases that were averaged from the same members before.")
    ] = False,
    as_json: JsonLines = False,
    quiet: Quiet = False,
) -> None:
    """Average the probabilities of earlier predictions of the same images; the order of the folders does not matter."""
    counted = numbers("--weights", weights)
    rules = () if selection is None else selected_rules(selection, workspace)
    from autoseg.prediction.beside import Beside
    from autoseg.prediction.combining import combine

    report = combine(
        folders,
        output,
        weights=counted,
        rules=rules,
        beside=Beside(probabilities or bool(classes), tuple(words(classes)), uncertainty),
        skip_existing=skip_existing,
        progress=bars(quiet or as_json),
        on_case=(lambda case: print_json_line(case.model_dump(mode="json"))) if as_json else None,
    )
    if not (quiet or as_json):
        _show(report, output)
    end_with_failures([str(case.error) for case in report.failed], total=len(report.cases), action="averaged")


def _show(report: "EnsembleReport", output: Path) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    total = number_of(len(report.cases), "case")
    console.print(f"{len(report.cases) - len(report.failed)} of {total} in {output}", markup=False)
    for member in report.members:
        models = ", ".join(Path(model).name for model in member.models)
        console.print(f"{member.share:.3f}  {member.folder}  ({models}, folds {', '.join(member.folds)})", markup=False)
    for rule in report.rules:
        console.print(f"corrected: {rule}", markup=False)
    show_review(report, console)
    console.print(f"{report.seconds:.1f} s")


main = command_line(ensemble)
