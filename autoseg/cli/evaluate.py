"""`autoseg_evaluate`: compare predictions with references."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.console import bars, command_line, print_json
from autoseg.errors import EvaluationError, WorkspaceError

if TYPE_CHECKING:
    from autoseg.data.dataset import Dataset
    from autoseg.evaluation.evaluate import Evaluation

REMAKE = "autoseg_plan DATASET"


def evaluate(
    *,
    predictions: Annotated[Path, typer.Option("-p", "--predictions", help="Folder with one label file for each case.")],
    references: Annotated[
        Path | None,
        typer.Option(
            "-r", "--references", help="Folder with the references under the same names; else the data set's own."
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("-d", "--dataset", help="Planned data set that names labels and regions (the one planned last)."),
    ] = None,
    any_labels: Annotated[
        bool, typer.Option("--any-labels", help="Ask no data set: each value in the references is a label.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out references without a prediction, and say so.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Where evaluation.json and per_case.csv go (the predictions' folder)."),
    ] = None,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where plans lie.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Cases evaluated at a time.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the evaluation for machines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Compare predictions with references: Dice, IoU, sensitivity, specificity, precision, HD95 and volumes."""
    from autoseg.evaluation import run
    from autoseg.evaluation.pairing import dataset_references

    known = None if any_labels else _dataset(dataset, workspace=workspace)
    if known is not None and dataset is None and not (quiet or as_json):
        print(f"Labels and regions of data set {known.name}, planned last (another: -d, none: --any-labels).")
    sought = references or (partial(dataset_references, known) if known else None)
    if sought is None:
        raise EvaluationError("no references: name their folder with -r, or a planned data set with labels with -d.")
    evaluation = run.evaluate(
        predictions,
        sought,
        labels=known.labels if known is not None else None,
        output=output,
        allow_missing=allow_missing,
        workers=workers,
        progress=bars(quiet),
    )
    if as_json:
        print_json(evaluation.model_dump(mode="json"))
    elif not quiet:
        _show(evaluation, output or predictions)


def _dataset(name: str | None, *, workspace: Path | None) -> "Dataset | None":
    """The planned data set `name`, or the one planned last; None when none is named and none was ever planned."""
    from autoseg.artefacts import load
    from autoseg.data.dataset import Dataset
    from autoseg.workspace import open_workspace

    try:
        folder = open_workspace(workspace).chosen(name)
    except WorkspaceError:
        if name is not None:
            raise
        return None
    return load(Dataset, folder.dataset_file, remake=REMAKE)


def _show(evaluation: "Evaluation", folder: Path) -> None:
    from rich.console import Console

    from autoseg.evaluation.run import CASES_FILE, EVALUATION_FILE
    from autoseg.evaluation.table import summary_table

    console = Console()
    console.print(summary_table(evaluation))
    for ids, what in (
        (evaluation.extra, "predictions have no reference"),
        (evaluation.missing, "references have no prediction"),
    ):
        if ids:
            console.print(f"{len(ids)} {what} and were left out: {', '.join(ids[:5])}{' ...' if len(ids) > 5 else ''}")
    console.print(f"Written: {folder / EVALUATION_FILE}, {folder / CASES_FILE}", soft_wrap=True)


main = command_line(evaluate)
