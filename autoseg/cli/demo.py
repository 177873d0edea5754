"""`autoseg_demo`: run everything on a small made-up data set."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.console import bars, command_line
from autoseg.cli.train import seconds_of
from autoseg.cli.train_display import display
from autoseg.errors import DatasetError

if TYPE_CHECKING:
    from autoseg.data.image import Shape
    from autoseg.demo import Demo


def demo(
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for everything the demo writes.")] = Path(
        "autoseg_demo"
    ),
    cases: Annotated[int | None, typer.Option("--cases", help="Cases, a quarter of them held out (26).")] = None,
    shape: Annotated[
        str | None, typer.Option("--shape", help="Voxels of each case along x, y, z (64,64,40).", metavar="X,Y,Z")
    ] = None,
    generate_only: Annotated[
        bool, typer.Option("--generate-only", help="Write the data set and stop; for tests under load.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed gives other patients.")] = 0,
    time_budget: Annotated[
        str | None,
        typer.Option("--time-budget", help="Time to train both folds, e.g. 90s or 10m (3m).", metavar="TIME"),
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes that work on cases.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Show no progress.")] = False,
) -> None:
    """Write a small made-up data set, plan, train two folds, predict held-out cases and evaluate: under five minutes.

    The same functions run as in the commands. Nothing is downloaded.
    """
    if quiet:
        logging.getLogger("autoseg").setLevel(logging.WARNING)
    from autoseg.data.phantom import CASES, SHAPE, write_phantom

    cases = CASES if cases is None else cases
    grid = SHAPE if shape is None else shape_of(shape)
    if generate_only:
        folder = write_phantom(output, cases=cases, shape=grid, seed=seed, workers=workers, progress=bars(quiet))
        print(f"Written: {folder}\nNext: autoseg_plan {folder}")
        return
    from autoseg.demo import TIME_BUDGET_S, run_demo

    done = run_demo(
        output,
        cases=cases,
        shape=grid,
        seed=seed,
        time_budget_s=TIME_BUDGET_S if time_budget is None else seconds_of(time_budget),
        workers=workers,
        progress=bars(quiet),
        observer=display(quiet),
    )
    _show(done)


def shape_of(text: str) -> "Shape":
    """The shape (z, y, x) that X,Y,Z stands for. Raises DatasetError for anything but three whole numbers."""
    parts = text.replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise DatasetError(f"--shape {text!r}: expected three whole numbers of voxels, for example 240,240,155.")
    x, y, z = (int(part) for part in parts)
    return z, y, x


def _show(done: "Demo") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from autoseg.demo import CONFIGURATION, GPU_MEMORY_GB
    from autoseg.evaluation.table import summary_table

    console = Console(highlight=False, soft_wrap=True)
    console.print()
    console.print(summary_table(done.evaluation))
    times = Table(box=SIMPLE_HEAD, pad_edge=False, title="Time", title_justify="left", show_footer=True)
    times.add_column("stage", footer="total")
    times.add_column("seconds", justify="right", footer=f"{sum(done.seconds.values()):.1f}")
    for stage, seconds in done.seconds.items():
        times.add_row(stage, f"{seconds:.1f}")
    console.print(times)
    for what, path in (
        ("data set", done.data),
        ("plan, preprocessed cases", done.workspace / done.data.name),
        ("model", done.model),
        ("predictions", done.predictions),
        ("evaluation", done.evaluated),
    ):
        console.print(f"{what:<26}{path}")
    console.print(f"\nSmall so that a processor is quick: planned for {GPU_MEMORY_GB} GB, trained with")
    for setting in done.settings:
        console.print(f"  --set {setting}")
    images, workspace = done.data / "imagesTs", done.workspace
    console.print("\nThe same by hand, and what to try next:")
    for command in (
        f"autoseg_plan {done.data} -w {workspace} --explain",
        f"autoseg_train {CONFIGURATION} -w {workspace} -f 0 --time-budget 10m --name longer",
        f"autoseg_predict -i {images} -o {done.predictions}_longer -w {workspace} -m longer",
        f"autoseg_evaluate -p {done.predictions}_longer -w {workspace}",
    ):
        console.print(f"  {command}")


main = command_line(demo)
