"""`autoseg_export`: a trained model as one file, or as an ONNX graph."""

from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.console import command_line, print_json
from autoseg.errors import ArtefactError, PredictionError


def export(
    model: Annotated[str, typer.Argument(help="Model folder, or the name of one in the workspace.")],
    file: Annotated[Path, typer.Argument(help="File to write, e.g. liver.autoseg or liver.onnx.")],
    *,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write the network as ONNX, and FILE.json with all that surrounds it.")
    ] = False,
    fold: Annotated[
        list[str] | None, typer.Option("-f", "--fold", help="With --onnx: folds whose logits are averaged (all trained).")
    ] = None,
    dataset: Annotated[str | None, typer.Option("-d", "--dataset", help="Data set of the model (the only one).")] = None,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where models lie.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Write a trained model to one checksummed file that autoseg_import opens anywhere, or to an ONNX graph.

    A cascade brings its first stage.
    """
    from autoseg.cli.model_choice import model_folders

    if fold and not onnx:
        raise PredictionError("-f chooses the folds of an ONNX graph; a model's file holds all of them. Add --onnx.")
    if file.is_dir():
        raise ArtefactError(f"{file}: is a folder. Name the file to write, for example {file / 'model.autoseg'}.")
    if file.exists() and not overwrite:
        raise ArtefactError(f"{file}: is there already. Choose another name, or replace it with --overwrite.")
    folder = model_folders(workspace, dataset, names=[model], configurations=[])[0]
    written = _onnx(folder, file, fold or []) if onnx else _archive(folder, file)
    if as_json:
        print_json({"model": str(folder), "files": [{"path": str(path), "bytes": path.stat().st_size} for path in written]})
    elif not quiet:
        for path in written:
            print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
        print(f"Next: autoseg_import {file} --name NAME" if not onnx else f"Next: read {written[-1]} beside the graph")


def _archive(folder: Path, file: Path) -> list[Path]:
    from autoseg.interchange.archive_export import export_model

    export_model(folder, file)
    return [file]


def _onnx(folder: Path, file: Path, folds: list[str]) -> list[Path]:
    from autoseg.interchange.onnx_export import export_onnx

    return export_onnx(folder, file, folds=folds)


main = command_line(export)
