"""`autoseg_import`: take over a model of nnU-Net, or one that was exported to a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.console import command_line, print_json
from autoseg.errors import ArtefactError
from autoseg.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from autoseg.interchange.installing import Installed


def import_model(
    source: Annotated[
        Path,
        typer.Argument(help="Model folder of nnU-Net (plans.json, fold_X), its exported zip, or a file of autoseg_export."),
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
    splits: Annotated[
        Path | None,
        typer.Option(
            "--splits", help="nnU-Net's splits_final.json (the one beside), to judge out of fold.", metavar="FILE"
        ),
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option(help="Of nnU-Net's training images, such as RAS, to turn others (as stored).", metavar="CODE"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another model of this name.")] = False,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where models lie.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Take over a model of nnU-Net, or one in a file of autoseg_export; nothing that comes with it is run."""
    _check_exists(source)
    place = open_workspace(workspace)
    if source.is_dir():
        from autoseg.interchange.nnunet_import import import_nnunet

        found = import_nnunet(
            source,
            place,
            name=name,
            dataset=dataset,
            previous=previous,
            splits=splits,
            orientation=orientation,
            overwrite=overwrite,
        )
    else:
        found = _from_file(
            source, place, name=name, dataset=dataset, splits=splits, orientation=orientation, overwrite=overwrite
        )
    if as_json:
        print_json([_values(one) for one in found])
    elif not quiet:
        for one in found:
            _show(one)
        print(f"Next: autoseg_predict -m {found[-1].name} -d {found[-1].dataset} -i IN -o OUT")


def _check_exists(source: Path) -> None:
    if not source.exists():
        raise ArtefactError(
            f"{source}: not found. Expected a model folder of nnU-Net, its exported zip, or a file of autoseg_export."
        )


def _from_file(
    file: Path,
    place: Workspace,
    *,
    name: str | None,
    dataset: str | None,
    splits: Path | None,
    orientation: str | None,
    overwrite: bool,
) -> "list[Installed]":
    from autoseg.interchange.nnunet_zip import import_nnunet_zip, is_nnunet_zip

    if is_nnunet_zip(file):
        return import_nnunet_zip(
            file, place, name=name, dataset=dataset, splits=splits, orientation=orientation, overwrite=overwrite
        )
    if orientation is not None:
        raise ArtefactError(f"--orientation {orientation}: {file} is no model of nnU-Net; its plan says it. Leave it out.")
    from autoseg.interchange.archive_import import import_archive

    return import_archive(file, place, name=name, dataset=dataset, overwrite=overwrite)


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
