"""`autoseg_plan`: look at a data set, check it, and plan how to train on it."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from autoseg.cli.console import USER_AT_FAULT, bars, command_line
from autoseg.errors import PlanError

if TYPE_CHECKING:
    from autoseg.planning.facts import Facts
    from autoseg.planning.gpus import Target
    from autoseg.planning.plan import Plan
    from autoseg.planning.run import Adjustment
    from autoseg.progress import Progress

R = TypeVar("R")
Format = Literal["autoseg", "nnunet"]


def plan(
    dataset: Annotated[
        str | None, typer.Argument(help="Folder of the data set, or its name below this folder or AUTOSEG_RAW.")
    ] = None,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Say what was understood and what is wrong; make no plan.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print every decision with its reason.")] = False,
    preset: Annotated[str, typer.Option(help="nnunet, resenc_m, resenc_l or resenc_xl.")] = "nnunet",
    gpu_memory: Annotated[
        str | None,
        typer.Option(
            metavar="GB|auto",
            help="GB to plan for (what the preset is made for: 8, 8, 24 or 40, if the GPU has that); auto: all of the GPU.",
        ),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Make three training steps of each configuration and size it by what they take.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where to probe: auto, cpu, cuda or cuda:1.")] = "auto",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, as training.epochs=20 or 3d_fullres.batch_size=4.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="The known data set that this is a copy of.")] = None,
    name: Annotated[str | None, typer.Option(help="Name in the workspace (that of the folder).")] = None,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where everything is written.")] = None,
    fingerprint: Annotated[
        Path | None, typer.Option(help="Plan without images, from this fingerprint (nnU-Net's or own).")
    ] = None,
    dataset_json: Annotated[Path | None, typer.Option(help="The dataset.json that belongs to --fingerprint.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for a plan without images.")] = None,
    form: Annotated[Format, typer.Option("--format", help="nnunet: write nnUNetPlans.json as well.")] = "autoseg",
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Print what differs between two plans (files, or names of planned data sets).", metavar="A B"),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Cases read at a time.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Look at a data set, check it, and plan how to train on it."""
    from autoseg.cli import plan_output as show
    from autoseg.planning import run
    from autoseg.planning.gpus import target, visible_gpus

    if compare is not None:
        _compare(compare, workspace=workspace, as_json=as_json)
        return
    gpus = visible_gpus()
    memory = target(preset, asked=_asked(gpu_memory), gpus=gpus)
    adjust = _probing(device, bars(quiet or as_json)) if probe else run.unchanged
    wanted = partial(_wanted, preset=preset, memory=memory, settings=settings or [], adjust=adjust)
    if fingerprint is not None or dataset_json is not None:
        if fingerprint is None or dataset_json is None:
            raise PlanError("a plan without images needs both --fingerprint FILE and --dataset-json FILE.")
        made, facts = wanted(run.plan_from_fingerprint)(fingerprint, dataset_json, name=name)
        if output is None and not (as_json or explain):
            raise PlanError("name a folder for the plan with -o DIR, or only look at it with --explain or --json.")
        written = _write(made, facts, output, form=form) if output is not None else []
        show.plan_alone(made, facts, written, explain=explain, as_json=as_json, quiet=quiet)
        show.memory(made, facts, memory, gpus, quiet=quiet or as_json)
        return
    if dataset is None:
        raise PlanError("name the folder of a data set: autoseg_plan DATASET. (Or plan without images: --fingerprint F.)")
    from autoseg.workspace import open_workspace

    checked = run.check(
        dataset,
        workspace=open_workspace(workspace),
        template=template,
        name=name,
        workers=workers,
        progress=bars(quiet or as_json),
    )
    if check:
        show.check(checked, as_json=as_json, quiet=quiet)
        raise typer.Exit(USER_AT_FAULT if show.has_errors(checked) else 0)
    planned = wanted(run.save_plan)(checked)
    written = _write_nnunet(planned.plan, planned.facts, checked.folder.path) if form == "nnunet" else []
    show.planned(planned, written, explain=explain, as_json=as_json, quiet=quiet)
    show.memory(planned.plan, planned.facts, memory, gpus, quiet=quiet or as_json)


def _compare(names: tuple[str, str], *, workspace: Path | None, as_json: bool) -> None:
    from autoseg.cli import plan_output as show
    from autoseg.planning.compare import differences, find_plan
    from autoseg.workspace import open_workspace

    first, second = (find_plan(name, workspace=open_workspace(workspace)) for name in names)
    show.compared(differences(first, second), names, as_json=as_json)


def _wanted(
    function: Callable[..., R], *, preset: str, memory: "Target", settings: Sequence[str], adjust: "Adjustment"
) -> Callable[..., R]:
    """A function that makes plans, told which kind of plan is wanted."""
    return partial(
        function,
        preset=preset,
        gpu_memory_gb=memory.gpu_memory_gb,
        device_bytes=memory.device_bytes,
        settings=settings,
        adjust=adjust,
    )


def _asked(text: str | None) -> float | Literal["auto"] | None:
    if text is None or text == "auto":
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError:
        raise PlanError(f"--gpu-memory {text}: expected a number of GB, for example 8, or auto.") from None


def _probing(device: str, progress: "Progress") -> "Adjustment":
    from autoseg.planning.planner import largest_batches
    from autoseg.training.probe import measured_apart, probed

    def adjust(plan: "Plan", facts: "Facts") -> "Plan":
        measure = partial(measured_apart, device=device)
        return probed(plan, most=largest_batches(facts, plan), measure=measure, progress=progress)

    return adjust


def _write(made: "Plan", facts: "Facts", folder: Path, *, form: Format) -> list[Path]:
    from autoseg.artefacts import save

    save(made, folder / "plan.json")
    return [folder / "plan.json", *(_write_nnunet(made, facts, folder) if form == "nnunet" else [])]


def _write_nnunet(made: "Plan", facts: "Facts", folder: Path) -> list[Path]:
    import json

    from autoseg.artefacts import written_whole
    from autoseg.planning.nnunet_plans import nnunet_plans, nnunet_plans_name

    path = folder / f"{nnunet_plans_name(made)}.json"
    with written_whole(path) as file:
        file.write(json.dumps(nnunet_plans(made, facts), indent=4).encode())
    return [path]


main = command_line(plan)
