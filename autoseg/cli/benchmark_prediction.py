"""The part of `autoseg_benchmark` that measures prediction: qualities, whole commands, and export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.benchmark_options import (
    Dataset,
    Device,
    Json,
    Pairs,
    Peer,
    Python,
    Quiet,
    Threads,
    WorkspaceFolder,
    interpreter_of,
    show,
)
from autoseg.cli.console import bars
from autoseg.errors import BenchmarkError
from autoseg.prediction.settings import Arithmetic

if TYPE_CHECKING:
    from autoseg.benchmark.spent import Turns


def prediction(
    dataset: Dataset = None,
    *,
    models: Annotated[
        list[str] | None, typer.Option("-m", "--model", help="Model folder, or the name of one.", metavar="MODEL")
    ] = None,
    folds: Annotated[list[str] | None, typer.Option("-f", "--fold", help="Fold (default: each trained one).")] = None,
    qualities: Annotated[
        list[str] | None, typer.Option("--quality", help="fast, balanced or best (default: each).", metavar="NAME")
    ] = None,
    precisions: Annotated[
        list[str] | None,
        typer.Option("--precision", help="Numbers the networks compute in: auto, fp32, bf16, fp16, int8.", metavar="NAME"),
    ] = None,
    cases: Annotated[int | None, typer.Option("--cases", min=1, help="Only so many cases of each fold.")] = None,
    workspace: WorkspaceFolder = None,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What each quality of prediction costs in Dice and takes in time, on cases that the networks have not seen."""
    from autoseg.artefacts import save
    from autoseg.benchmark.prediction import measure_qualities, quality_lines
    from autoseg.prediction.ensemble import choose_models
    from autoseg.prediction.settings import QUALITIES
    from autoseg.workspace import open_workspace

    folder = open_workspace(workspace).chosen(dataset)
    (path,) = choose_models(folder, names=models or [])[:1]
    found = measure_qualities(
        folder,
        path,
        qualities=qualities or tuple(QUALITIES),
        precisions=precisions or ("auto",),
        folds=folds or (),
        cases_per_fold=cases,
        device=device,
        progress=bars(quiet or as_json),
    )
    save(found, folder.path / "benchmarks" / f"prediction_{found.model}.json")
    show(found, quality_lines, as_json=as_json)


def command(
    model: Annotated[Path, typer.Argument(help="Model folder of nnU-Net (plans.json, fold_X).")],
    *,
    inputs: Annotated[Path, typer.Option("-i", "--input", help="Folder of images.", metavar="IN")],
    peer: Peer = None,
    python: Python = None,
    pairs: Pairs = 3,
    mirroring: Annotated[bool, typer.Option("--mirroring/--no-mirroring", help="Average over mirrored images.")] = True,
    precision: Annotated[Arithmetic, typer.Option(help="Arithmetic of autoseg's networks.")] = "auto",
    workspace: WorkspaceFolder = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole prediction command from start to exit on the processor, in turn with nnU-Net's from the same weights."""
    from autoseg.benchmark.whole_command import measure_commands

    interpreter = interpreter_of(peer, python)
    if not model.is_dir():
        raise BenchmarkError(f"{model}: not found. Expected a model folder of nnU-Net, with plans.json and fold_X.")
    folder = _place(workspace) / f"command_{model.name}_{inputs.name}{'' if mirroring else '_not_mirrored'}"
    found = measure_commands(
        model,
        inputs,
        folder,
        python=interpreter,
        pairs=pairs,
        mirroring=mirroring,
        options=[] if precision == "auto" else ["--precision", precision],
        progress=bars(quiet or as_json),
    )
    _shown(found, folder.with_suffix(".json"), as_json=as_json)


def export(
    *,
    shape: Annotated[str, typer.Option(help="Voxels of the label map, z,y,x.", metavar="Z,Y,X")] = "200,256,256",
    spacing: Annotated[str, typer.Option(help="Their spacing in mm.", metavar="Z,Y,X")] = "1.5,0.8,0.8",
    network_spacing: Annotated[float, typer.Option(min=0.01, help="Spacing of the scores in mm.")] = 1.5,
    classes: Annotated[int, typer.Option(min=2, help="How many classes.")] = 30,
    peer: Peer = None,
    python: Python = None,
    pairs: Pairs = 3,
    threads: Threads = None,
    workspace: WorkspaceFolder = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """From the scores of a network with random weights to a file: seconds and memory, in turn with nnU-Net's export."""
    from autoseg.benchmark.exporting import ExportWork, measure_export
    from autoseg.resources import available_cores

    z, y, x = _three(shape, "--shape")
    work = ExportWork((round(z), round(y), round(x)), _three(spacing, "--spacing"), network_spacing, classes)
    folder = _place(workspace) / f"export_{classes}_{shape.replace(',', 'x')}"
    found = measure_export(
        work,
        folder,
        python=interpreter_of(peer, python),
        pairs=pairs,
        threads=threads or available_cores(),
        progress=bars(quiet or as_json),
    )
    _shown(found, folder.with_suffix(".json"), as_json=as_json)


def _three(text: str, option: str) -> tuple[float, float, float]:
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise BenchmarkError(f"{option} {text}: expected three numbers such as 1.5,0.8,0.8.") from None
    if min(z, y, x) <= 0:
        raise BenchmarkError(f"{option} {text}: expected numbers above 0.")
    return z, y, x


def _place(workspace: Path | None) -> Path:
    from autoseg.workspace import open_workspace

    return open_workspace(workspace).root / "benchmarks"


def _shown(found: "Turns", file: Path, *, as_json: bool) -> None:
    from autoseg.artefacts import save
    from autoseg.benchmark.report import turns_lines

    save(found, file)
    show(found, turns_lines, as_json=as_json)
