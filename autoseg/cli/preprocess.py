"""`autoseg_preprocess`: prepare the cases of a configuration for training."""

from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.console import bars, command_line, print_json
from autoseg.errors import number_of

REMAKE = "autoseg_plan DATASET"


def preprocess(
    configurations: Annotated[list[str], typer.Argument(help="Configurations of the plan, e.g. 2d 3d_fullres.")],
    *,
    dataset: Annotated[
        str | None, typer.Option("-d", "--dataset", help="A planned data set (the one planned last).")
    ] = None,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where plans lie.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Cases at a time (as many as cores and memory allow).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was stored for machines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Crop, normalise and resample the training cases. What is up to date is left alone; autoseg_train does this itself."""
    from autoseg.artefacts import digest, load
    from autoseg.data.dataset import Dataset
    from autoseg.fingerprint import Fingerprint, verify_unchanged
    from autoseg.planning.plan import Plan
    from autoseg.preprocessing import run
    from autoseg.workspace import open_workspace

    folder = open_workspace(workspace).chosen(dataset)
    known = load(Dataset, folder.dataset_file, remake=REMAKE)
    fingerprint = load(Fingerprint, folder.fingerprint_file, remake=REMAKE)
    plan = load(Plan, folder.plan_file, remake=REMAKE)
    verify_unchanged(known, fingerprint)
    if not quiet and not as_json and dataset is None:
        print(f"Data set {known.name}, planned last (another: -d).")
    done = []
    for name in configurations:
        stored_as = run.stored_as(plan, name)
        place = folder.preprocessed(stored_as)
        manifest = run.preprocess(
            known, digest(fingerprint), plan, stored_as, place, workers=workers, progress=bars(quiet or as_json)
        )
        done.append({"configuration": name, "cases": list(manifest.ids), "folder": str(place)})
        if not quiet and not as_json:
            print(f"{name}: {number_of(len(manifest.ids), 'case')} ready in {place}")
    if as_json:
        print_json(done)


main = command_line(preprocess)
