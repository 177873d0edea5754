"""`autoseg_import`: take over a model of nnU-Net, or one that was exported to a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.console import command_line, print_json
from autoseg.errors import ArtefactError
from autoseg.workspace import open_workspace

if TYPE_CHECKING:
    from autoseg.interchange.installing import Installed


def import_model(
    source: Annotated[
        Path, typer.Argument(help="Model folder of nnU-Net (plans.json, fold_X), or a file that autoseg_export wrote.")
    ],
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model (the file's own, or nnunet_CONFIGURATION).")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("-d", "--dataset", help="Data set that it becomes a model of (its own).", metavar="NAME")
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option("--previous", help="nnU-Net's folder of a cascade's first stage (the one beside).", metavar="FOLDER"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another model of this name.")] = False,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where models lie.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Take over a model of nnU-Net, or one in a file of autoseg_export; nothing that comes with it is run."""
    found = _imported(source, name=name, dataset=dataset, previous=previous, overwrite=overwrite, workspace=workspace)
    if as_json:
        print_json([_values(one) for one in found])
    elif not quiet:
        for one in found:
            _show(one)
        print(f"Next: autoseg_predict -m {found[-1].name} -d {found[-1].dataset} -i IN -o OUT")


def _imported(
    source: Path,
    *,
    name: str | None,
    dataset: str | None,
    previous: Path | None,
    overwrite: bool,
    workspace: Path | None,
) -> "list[Installed]":
    if not source.exists():
        raise ArtefactError(f"{source}: not found. Expected a model folder of nnU-Net or a file of autoseg_export.")
    if source.is_dir():
        from autoseg.interchange.nnunet_import import import_nnunet

        place = open_workspace(workspace)
        return import_nnunet(source, place, name=name, dataset=dataset, previous=previous, overwrite=overwrite)
    from autoseg.interchange.archive_import import import_archive

    return import_archive(source, open_workspace(workspace), name=name, dataset=dataset, overwrite=overwrite)


def _show(one: "Installed") -> None:
    state = "was imported before" if one.was_there else "imported"
    print(f"{state}: {one.name}, {one.configuration} of {one.dataset}, folds {', '.join(one.folds)}: {one.path}")
    for note in one.notes:
        print(f"  {note}")


def _values(one: "Installed") -> dict[str, object]:
    return {
        "name": one.name,
        "dataset": one.dataset,
        "configuration": one.configuration,
        "folds": list(one.folds),
        "path": str(one.path),
        "was_there": one.was_there,
        "notes": list(one.notes),
    }


main = command_line(import_model)
