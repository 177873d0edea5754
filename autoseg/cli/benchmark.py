"""`autoseg_benchmark`: what training, preprocessing and whole configurations take here, beside others."""

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
from autoseg.cli.benchmark_prediction import command, export, prediction
from autoseg.cli.console import bars, command_group
from autoseg.cli.train import seconds_of
from autoseg.errors import BenchmarkError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from autoseg.benchmark.matrix import Budget
    from autoseg.benchmark.nnunet import NnUnet
    from autoseg.benchmark.rows import Table
    from autoseg.benchmark.setting import Setting

Configuration = Annotated[str, typer.Option("-c", "--configuration", help="Configuration of the plan.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any value of the plan, e.g. 3d_fullres.batch_size=2.", metavar="K=V")
]


def step(
    dataset: Dataset = None,
    *,
    configuration: Configuration = "3d_fullres",
    workspace: WorkspaceFolder = None,
    peer: Peer = None,
    python: Python = None,
    pairs: Pairs = 3,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Steps of each run, after two to warm up.")] = 10,
    settings: Settings = None,
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Seconds of a training step and the share of waiting for data; beside a peer with the same plan, network and batch."""
    from autoseg.benchmark.report import step_lines
    from autoseg.benchmark.step import measure_steps

    setting = _setting(dataset, configuration, workspace, settings=settings, device=device, threads=threads)
    progress = bars(quiet or as_json)
    found = measure_steps(setting, peer=_peer(peer, python, setting), pairs=pairs, steps=steps, progress=progress)
    _keep(found, setting, f"step_{configuration}.json")
    show(found, step_lines, as_json=as_json)


def preprocessing(
    dataset: Dataset = None,
    *,
    configuration: Configuration = "3d_fullres",
    workspace: WorkspaceFolder = None,
    peer: Peer = None,
    python: Python = None,
    pairs: Pairs = 3,
    settings: Settings = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Processes of each program.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cases preprocessed per second and the memory it takes; beside a peer with the same plan and number of processes."""
    from autoseg.benchmark.preprocessing import measure_preprocessing
    from autoseg.benchmark.report import preprocessing_lines

    setting = _setting(dataset, configuration, workspace, settings=settings, device="cpu", threads=threads)
    progress = bars(quiet or as_json)
    found = measure_preprocessing(setting, peer=_peer(peer, python, setting), pairs=pairs, progress=progress)
    _keep(found, setting, f"preprocessing_{configuration}.json")
    show(found, preprocessing_lines, as_json=as_json)


def run(
    dataset: Dataset = None,
    *,
    configurations: Annotated[
        list[str] | None, typer.Option("--configurations", help="Configurations of the plan, one or several (all).")
    ] = None,
    recipes: Annotated[
        list[str] | None,
        typer.Option(
            "--recipes",
            help="Recipes, one or several: each with every configuration that it is made for; default: without any.",
        ),
    ] = None,
    folds: Annotated[list[str] | None, typer.Option("--folds", help="Folds that each row is trained on (0).")] = None,
    time_budget: Annotated[
        str | None, typer.Option("--time-budget", help="Training time of each row and fold, e.g. 10m.", metavar="TIME")
    ] = None,
    iterations: Annotated[int | None, typer.Option("--iterations", min=1, help="Steps of each row instead.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of every row.")] = 0,
    workspace: WorkspaceFolder = None,
    settings: Settings = None,
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train, predict and evaluate configurations and recipes under the same budget; one table and a picture of them.

    Rows that are finished are not made again; one that fails is reported and does not stop the rest.
    """
    from autoseg.benchmark.matrix import combinations, compare

    budget = _budget(time_budget, iterations, seed=seed, who="the rows need")
    first, *_ = configurations or ["3d_fullres"]
    setting = _setting(dataset, first, workspace, settings=settings, device=device, threads=threads)
    wanted = combinations(setting.plan, configurations or list(setting.plan.configurations), recipes or ())
    table = compare(setting, wanted, folds=folds or ["0"], budget=budget, progress=bars(quiet or as_json))
    _show_table(table, setting, as_json=as_json)


def peer(
    name: Annotated[str, typer.Argument(help="The program to compare with: nnunet.")],
    dataset: Dataset = None,
    *,
    python: Annotated[Path, typer.Option("--python", help="Interpreter of its environment.", metavar="PATH")],
    configuration: Configuration = "3d_fullres",
    time_budget: Annotated[
        str | None, typer.Option("--time-budget", help="Training time of both, e.g. 10m.", metavar="TIME")
    ] = None,
    iterations: Annotated[int | None, typer.Option("--iterations", min=1, help="Steps of both instead.")] = None,
    step_seconds: Annotated[
        float | None,
        typer.Option("--step-seconds", min=0.001, help="The peer's step as measured before, instead of measuring it now."),
    ] = None,
    fold: Annotated[str, typer.Option("--fold", help="Fold to train, or all.")] = "all",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of autoseg.")] = 0,
    settings: Settings = None,
    workspace: WorkspaceFolder = None,
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train another program and autoseg with the same budget on the same cases, and score both on the same unseen cases.

    With a fold these are its held-out cases, and both stand in the table of `autoseg_benchmark run`; with all of them the
    data set's test cases.
    """
    from autoseg.benchmark.budgeted import compare_with_peer, peer_row
    from autoseg.benchmark.matrix import compare
    from autoseg.benchmark.report import comparison_lines
    from autoseg.data.splits import ALL

    budget = _budget(time_budget, iterations, seed=seed, who="both need")
    setting = _setting(dataset, configuration, workspace, settings=settings, device=device, threads=threads, fold=fold)
    other = _peer(name, python, setting)
    assert other is not None, "a peer is named"
    if fold != ALL:
        peer_row(setting, other, budget=budget, step_s=step_seconds)
        table = compare(setting, [(configuration, None)], folds=[fold], budget=budget, progress=bars(quiet or as_json))
        _show_table(table, setting, as_json=as_json)
        return
    found = compare_with_peer(setting, other, budget=budget, step_s=step_seconds)
    _keep(found, setting, f"peer_{name}_{time_budget or iterations}.json")
    show(found, comparison_lines, as_json=as_json)


def hardware(
    *,
    workspace: WorkspaceFolder = None,
    device: Device = "auto",
    threads: Threads = None,
    record: Annotated[
        Path | None, typer.Option("--record", help="Add this machine to a file of references.", metavar="FILE")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What it is called there.")] = "this machine",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure training, prediction, loading and export on this machine beside recorded ones, and say what limits it."""
    from autoseg.benchmark.hardware import measure_hardware
    from autoseg.benchmark.hardware import record as keep
    from autoseg.benchmark.report import hardware_lines
    from autoseg.workspace import open_workspace

    place = open_workspace(workspace).root
    found = measure_hardware(device=device, threads=threads, folder=place, progress=bars(quiet or as_json))
    if record is not None:
        keep(found, record, name=name)
    show(found, hardware_lines, as_json=as_json)


def _show_table(table: "Table", setting: "Setting", *, as_json: bool) -> None:
    """Store the table with the rows that earlier runs of the same budget made, draw it and print it."""
    from autoseg.benchmark.pareto import draw_pareto
    from autoseg.benchmark.report import table_lines
    from autoseg.benchmark.rows import joined_with

    file, picture = setting.results / "run.json", setting.results / "run.png"
    table = joined_with(table, file)
    _keep(table, setting, file.name)
    draw_pareto(table, picture)
    show(table, table_lines, as_json=as_json)
    if not as_json:
        print(f"Written: {file}, {picture}")


def _setting(
    dataset: str | None,
    configuration: str,
    workspace: Path | None,
    *,
    settings: list[str] | None,
    device: str,
    threads: int | None,
    fold: str = "0",
) -> "Setting":
    from autoseg.benchmark.setting import setting_of
    from autoseg.workspace import open_workspace

    folder = open_workspace(workspace).chosen(dataset)
    return setting_of(folder, configuration, settings=settings or (), device=device, threads=threads, fold=fold)


def _peer(name: str | None, python: Path | None, setting: "Setting") -> "NnUnet | None":
    from autoseg.benchmark.nnunet import NnUnet

    interpreter = interpreter_of(name, python)
    if interpreter is None:
        return None
    return NnUnet(python=interpreter, folder=setting.results / "nnunet", setting=setting)


def _budget(time_budget: str | None, iterations: int | None, *, seed: int, who: str) -> "Budget":
    """Raises BenchmarkError where both or none of time and iterations is named."""
    from autoseg.benchmark.matrix import Budget

    if (time_budget is None) == (iterations is None):
        raise BenchmarkError(f"{who} the same budget: name one of --time-budget 10m and --iterations N.")
    return Budget(None if time_budget is None else seconds_of(time_budget), iterations, seed)


def _keep(found: "BaseModel", setting: "Setting", name: str) -> None:
    from autoseg.artefacts import save

    save(found, setting.results / name)


main = command_group(
    step=step,
    preprocessing=preprocessing,
    run=run,
    peer=peer,
    hardware=hardware,
    prediction=prediction,
    command=command,
    export=export,
)
