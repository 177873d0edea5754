"""`autoseg_select`: the best of what is trained."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from autoseg.cli.console import bars, command_line, print_json
from autoseg.workspace import open_workspace

if TYPE_CHECKING:
    from autoseg.selection.selection import Judged, Selection


def select(
    *,
    dataset: Annotated[str | None, typer.Option("-d", "--dataset", help="Planned data set (default: the last).")] = None,
    by: Annotated[
        Literal["dice", "brats"], typer.Option(help="Mean foreground Dice, or mean rank over regions by Dice and HD95.")
    ] = "dice",
    most: Annotated[int, typer.Option("--most", min=1, max=3, help="Models that may predict together.")] = 3,
    corrections: Annotated[
        bool, typer.Option("--corrections/--no-corrections", help="Try post-processing rules on the best.")
    ] = True,
    thresholds: Annotated[
        bool,
        typer.Option(
            "--thresholds/--no-thresholds", help="Try probability thresholds of regions (the best predicts again)."
        ),
    ] = True,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where models lie.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Cases evaluated at a time.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the selection for machines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Judge all trained models, pairs and triples by held-out cases; autoseg_predict then uses the best by itself."""
    folder = open_workspace(workspace).chosen(dataset)
    from autoseg.selection.run import select as choose

    found = choose(
        folder,
        criterion=by,
        most_members=most,
        corrections=corrections,
        thresholds=thresholds,
        device=device,
        workers=workers,
        progress=bars(quiet or as_json),
    )
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif not quiet:
        _show(found, folder.selection_file, where="" if workspace is None else f" -w {workspace}")


def _show(selection: "Selection", file: Path, *, where: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    # Where nobody looks on, rich takes 80 columns, and cuts names.
    console = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(f"{selection.cases} held-out cases of folds {', '.join(selection.folds)}", markup=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("models", "Dice (95 %)", "HD95 mm", "rank", "best minus this", "s/case", "GiB"):
        table.add_column(name, justify="left" if name == "models" else "right", overflow="fold")
    for one in sorted(
        selection.judged, key=lambda judged: judged.rank if selection.criterion == "brats" else -(judged.dice or 0)
    ):
        table.add_row(("* " if one.name == selection.chosen else "  ") + one.name, *_cells(one))
    console.print(table)
    for correction in selection.corrections:
        state = "kept" if correction.kept else "not kept"
        console.print(
            f"{correction.rule}: Dice {correction.before:.4f} to {correction.after:.4f}, cross-fitted "
            f"{correction.cross_fitted:.4f}: {state}",
            markup=False,
        )
    for note in selection.notes:
        console.print(note, markup=False)
    console.print(f"Written: {file}", markup=False)
    alone = f"autoseg_predict -d {selection.dataset}{where}"
    console.print(f"{alone} uses it; by name: {selection.command}{where}", markup=False)


def _cells(one: "Judged") -> tuple[str, ...]:
    dice = "-" if one.dice is None else f"{one.dice:.4f}"
    interval = "" if one.low is None or one.high is None else f" ({one.low:.3f} to {one.high:.3f})"
    told = {True: ", noise", False: "", None: ", too few cases"}[one.within_noise]
    noise = "" if one.p is None else f" p={one.p:.3f}{told}"
    return (
        dice + interval,
        "-" if one.hd95_mm is None else f"{one.hd95_mm:.2f}",
        f"{one.rank:.2f}",
        "" if one.difference is None else f"{one.difference:+.4f}{noise}",
        "-" if one.seconds_per_case is None else f"{one.seconds_per_case:.1f}",
        "-" if one.prediction_bytes is None else f"{one.prediction_bytes / 2**30:.1f}",
    )


main = command_line(select)
