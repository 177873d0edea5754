"""`autoseg_benchmark`: what training, preprocessing and whole configurations take here, beside others."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from autoseg.cli.console import bars, command_group, print_json
from autoseg.cli.train import seconds_of
from autoseg.errors import BenchmarkError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from autoseg.benchmark.matrix import Budget
    from autoseg.benchmark.nnunet import NnUnet
    from autoseg.benchmark.rows import Table
    from autoseg.benchmark.setting import Setting

Result = TypeVar("Result", bound="BaseModel")

Dataset = Annotated[str | None, typer.Argument(help="Planned data set (default: the last).")]
Configuration = Annotated[str, typer.Option("-c", "--configuration", help="Configuration of the plan.")]
WorkspaceFolder = Annotated[Path | None, typer.Option("-w", "--workspace", help="Where plans and models lie.")]
Peer = Annotated[str | None, typer.Option("--peer", help="Program to measure in turn: nnunet.", metavar="NAME")]
Python = Annotated[Path | None, typer.Option("--python", help="Interpreter of the peer's environment.", metavar="PATH")]
Pairs = Annotated[int, typer.Option("--pairs", min=1, help="How often the two take turns.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any value of the plan, e.g. 3d_fullres.batch_size=2.", metavar="K=V")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Processor cores to use.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result for machines.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Show no progress.")]


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
    _show(found, step_lines, as_json=as_json)


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
    _show(found, preprocessing_lines, as_json=as_json)


def run(
    dataset: Dataset = None,
    *,
    configurations: Annotated[
        list[str] | None, typer.Option("--configurations", help="Configurations of the plan, one or several (all).")
    ] = None,
    recipes: Annotated[
        list[str] | None,
        typer.Option("--recipes", help="Recipes, one or several: each with every configuration that it is made for."),
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
    _show(found, comparison_lines, as_json=as_json)


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
) -> None:
    """Measure training, prediction, loading and export on this machine beside recorded ones, and say what limits it."""
    from autoseg.benchmark.hardware import measure_hardware
    from autoseg.benchmark.hardware import record as keep
    from autoseg.benchmark.report import hardware_lines
    from autoseg.workspace import open_workspace

    found = measure_hardware(device=device, threads=threads, folder=open_workspace(workspace).root)
    if record is not None:
        keep(found, record, name=name)
    _show(found, hardware_lines, as_json=as_json)


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
        folds=folds or (),
        cases_per_fold=cases,
        device=device,
        progress=bars(quiet or as_json),
    )
    save(found, folder.path / "benchmarks" / f"prediction_{found.model}.json")
    _show(found, quality_lines, as_json=as_json)


def _show_table(table: "Table", setting: "Setting", *, as_json: bool) -> None:
    """Store the table with the rows that earlier runs of the same budget made, draw it and print it."""
    from autoseg.benchmark.pareto import draw_pareto
    from autoseg.benchmark.report import table_lines
    from autoseg.benchmark.rows import joined_with

    file, picture = setting.results / "run.json", setting.results / "run.png"
    table = joined_with(table, file)
    _keep(table, setting, file.name)
    draw_pareto(table, picture)
    _show(table, table_lines, as_json=as_json)
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
    from autoseg.errors import unknown_name

    if name is None:
        if python is not None:
            raise BenchmarkError("--python names the environment of a peer: say which with --peer nnunet.")
        return None
    if name != "nnunet":
        raise unknown_name("peer", name, ("nnunet",))
    if python is None:
        raise BenchmarkError("--peer nnunet: name the interpreter of its environment with --python PATH.")
    return NnUnet(python=python.absolute(), folder=setting.results / "nnunet", setting=setting)


def _budget(time_budget: str | None, iterations: int | None, *, seed: int, who: str) -> "Budget":
    """Raises BenchmarkError where both or none of time and iterations is named."""
    from autoseg.benchmark.matrix import Budget

    if (time_budget is None) == (iterations is None):
        raise BenchmarkError(f"{who} the same budget: name one of --time-budget 10m and --iterations N.")
    return Budget(None if time_budget is None else seconds_of(time_budget), iterations, seed)


def _keep(found: "BaseModel", setting: "Setting", name: str) -> None:
    from autoseg.artefacts import save

    save(found, setting.results / name)


def _show(found: Result, lines: Callable[[Result], Iterable[str]], *, as_json: bool) -> None:
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print("\n".join(lines(found)))


main = command_group(step=step, preprocessing=preprocessing, run=run, peer=peer, hardware=hardware, prediction=prediction)
