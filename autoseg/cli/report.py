"""`autoseg_report`: one page on a data set, a model or predictions, and its pictures on their own."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.console import command_line, print_json
from autoseg.errors import EvaluationError, unknown_name
from autoseg.workspace import DatasetFolder, open_workspace

if TYPE_CHECKING:
    from autoseg.report.sources import Sources

WHAT = {
    "page": "the report as one HTML file",
    "overlays": "overlay pictures of CASE, or of the worst, median and best case",
    "gif": "animations of CASE: surfaces turning, and a sweep through the slices",
    "curves": "loss, Dice, IoU and learning rate of the trainings",
}


def report(
    *,
    what: Annotated[str, typer.Argument(help="page, overlays, gif or curves.", show_default=True)] = "page",
    case: Annotated[str | None, typer.Argument(help="Case to draw (overlays, gif).", show_default=False)] = None,
    dataset: Annotated[str | None, typer.Option("-d", "--dataset", help="Planned data set (the one planned last).")] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="Model folder, or the name of one (the usual one, if any).")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option("-p", "--predictions", help="Report on this folder, which holds an evaluation.json.")
    ] = None,
    survival: Annotated[
        Path | None, typer.Option("--survival", help="Show this model of autoseg_survival train on the page as well.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write to (that of the model or predictions).")
    ] = None,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where plans and models lie.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written for machines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Write one self-contained HTML page on a data set, a model or predictions; or pictures alone.

    WHAT is page (the default), overlays [CASE], gif CASE or curves.
    """
    if what not in WHAT:
        raise unknown_name("kind of report", what, WHAT)
    if what == "gif" and case is None:
        raise EvaluationError("name the case to draw: autoseg_report gif CASE")
    sources, home = _sources(dataset, model=model, predictions=predictions, workspace=workspace)
    if survival is not None:
        from autoseg.report.sources import of_survival

        sources = replace(sources, survival=of_survival(survival))
    for problem in sources.problems:
        sys.stderr.write(f"could not be read: {problem}\n")
    written = _writer(what, case)(sources, output or home)
    if as_json:
        print_json({"written": [str(path) for path in written], "problems": list(sources.problems)})
    elif not quiet:
        for path in written:
            print(f"Written: {path}")


def _writer(what: str, case: str | None) -> "Callable[[Sources, Path], list[Path]]":
    from autoseg.report import run

    if what == "overlays":
        return lambda sources, folder: run.write_overlays(sources, folder, cases=[case] if case else [])
    if what == "gif":
        return lambda sources, folder: run.write_gifs(sources, folder, case_id=case or "")
    return run.write_curves if what == "curves" else run.write_report


def _sources(
    dataset: str | None, *, model: str | None, predictions: Path | None, workspace: Path | None
) -> "tuple[Sources, Path]":
    """The artefacts, and the folder they belong to."""
    from autoseg.report.sources import of_dataset, of_predictions

    if predictions is not None:
        folder = _planned(dataset, workspace=workspace)
        return of_predictions(predictions, None if folder is None else folder.dataset_file), predictions
    folder = open_workspace(workspace).chosen(dataset)
    chosen = _model(folder, model)
    return of_dataset(folder, chosen), chosen or folder.path


def _planned(name: str | None, *, workspace: Path | None) -> DatasetFolder | None:
    """The data set the predictions belong to, for its images; None where none is named and none was ever planned."""
    from autoseg.errors import WorkspaceError

    try:
        return open_workspace(workspace).chosen(name)
    except WorkspaceError:
        if name is not None:
            raise
        return None


def _model(folder: DatasetFolder, name: str | None) -> Path | None:
    """The model asked for, else the usual one; None where nothing has been trained."""
    from autoseg.prediction.ensemble import choose_models, is_model_folder

    if name is not None and is_model_folder(Path(name)):
        return Path(name)
    if name is None and not any(folder.models.glob("*/model.json")):
        return None
    return choose_models(folder, names=[name] if name else [])[0]


main = command_line(report)
