"""`autoseg_view`: cases, predictions and references in the browser."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.console import command_line, print_json_line
from autoseg.workspace import DEFAULT_WORKSPACE, Workspace, open_workspace


def view(
    *,
    what: Annotated[
        str | None,
        typer.Argument(
            help="Image, patient's folder, data set (folder or planned name), predictions or model (last planned).",
            show_default=False,
        ),
    ] = None,
    images: Annotated[Path | None, typer.Option("-i", "--images", help="Images: a file or a folder of any layout.")] = None,
    predictions: Annotated[
        Path | None, typer.Option("-p", "--predictions", help="Label maps to look at: a folder or a file.")
    ] = None,
    references: Annotated[
        Path | None, typer.Option("-r", "--references", help="Label maps to compare with (the data set's own).")
    ] = None,
    uncertainty: Annotated[
        Path | None, typer.Option("-u", "--uncertainty", help="Maps such as CASE_entropy.nii.gz: a folder or a file.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("-d", "--dataset", help="Planned data set the predictions belong to.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="Model whose validation predictions are shown (the usual one).")
    ] = None,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where plans and models lie.")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on this machine (0: a free one).")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    install: Annotated[bool, typer.Option("--install", help="Fetch NiiVue, which draws, and end.")] = False,
    niivue: Annotated[
        Path | None, typer.Option("--niivue", help="Install NiiVue from this file of npm instead, and end.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address for machines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but the address.")] = False,
) -> None:
    """Look at images, predictions, references, their difference and uncertainty in the browser.

    The page is served on this machine alone, until Ctrl-C. NiiVue, which draws it, is fetched once.
    """
    from autoseg.viewer.gather import Named
    from autoseg.viewer.run import open_viewer

    if install or niivue is not None:
        _install(niivue, quiet=quiet)
        return
    named = Named(
        what,
        images=images,
        predictions=predictions,
        references=references,
        uncertainty=uncertainty,
        dataset=dataset,
        model=model,
    )
    serving = open_viewer(named, _workspace(workspace), port=port)
    if as_json:
        print_json_line({"address": serving.address})
    else:
        print(serving.address if quiet else f"Viewer: {serving.address} (Ctrl-C ends it)", flush=True)
    if not no_browser and _has_display():
        webbrowser.open(serving.address)
    serving.run()


def _has_display() -> bool:
    """Whether a browser with windows can open here: without one, a browser for terminals would take over this one."""
    named = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in named)


def _install(package: Path | None, *, quiet: bool) -> None:
    from autoseg.viewer.niivue import LICENCE, VERSION, install

    kept = install(package)
    if not quiet:
        print(f"NiiVue {VERSION} (licence {LICENCE}) is kept in {kept}")


def _workspace(folder: Path | None) -> Workspace | None:
    """The workspace, if there is one: looking at a file must not make one."""
    root = Path(folder or os.environ.get("AUTOSEG_WORKSPACE") or DEFAULT_WORKSPACE).expanduser()
    return open_workspace(folder) if folder is not None or root.is_dir() else None


main = command_line(view)
