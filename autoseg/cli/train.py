"""`autoseg_train`: train a configuration of a planned data set."""

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoseg.cli.console import bars, command_line, print_json
from autoseg.cli.folds import fold_names
from autoseg.cli.folds_display import side_by_side
from autoseg.cli.train_display import display
from autoseg.errors import TrainingError, number_of

if TYPE_CHECKING:
    from autoseg.training.fold import FoldResult
    from autoseg.training.judge import FoldScores

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|m|s)", re.IGNORECASE)
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def train(
    configuration: Annotated[
        str | None, typer.Argument(help="Configuration of the plan, e.g. 3d_fullres (default: the recipe's).")
    ] = None,
    *,
    dataset: Annotated[str | None, typer.Option("-d", "--dataset", help="Planned data set (default: the last).")] = None,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where plans and models lie.")] = None,
    fold: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--fold",
            help="Fold, several as 0 1 2, or all for one model trained on every case (default: 0 1 2 3 4).",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the model (default: the configuration).")] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="A way to train by name, or a JSON file.", metavar="NAME|FILE")
    ] = None,
    recipes: Annotated[bool, typer.Option("--recipes", help="List the recipes, and train nothing.")] = False,
    init_from: Annotated[
        str | None,
        typer.Option("--init-from", help="Start from this model's weights: its folder or name.", metavar="MODEL"),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Epochs (default: the plan's).")] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Steps per epoch; fewer than planned validate less, too.")
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            "--time-budget",
            help="Train for 20m, 1h30m, 2d instead, shared evenly by the folds; held-out cases are predicted after it.",
            metavar="TIME",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any value of the plan, e.g. training.learning_rate=0.02.", metavar="K=V"),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    devices: Annotated[
        str | None,
        typer.Option("--devices", help="Train folds side by side on GPUs 0,1 or on cpu,cpu (default: on all GPUs)."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Makes a run on a CPU repeatable.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Processor cores to use.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Delete what was trained of these folds before.")] = False,
    validation: Annotated[
        bool,
        typer.Option("--validation/--no-validation", help="Predict and evaluate the held-out cases of each trained fold."),
    ] = True,
    tensorboard: Annotated[
        bool | None,
        typer.Option("--tensorboard/--no-tensorboard", help="Write event files for TensorBoard (default: yes)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results for machines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Show no progress.")] = False,
) -> None:
    """Train a configuration, preprocessing first where needed; the same command resumes a run that was broken off."""
    if recipes:
        _list_recipes(as_json=as_json)
        return
    from autoseg import cascade
    from autoseg.data.splits import ALL
    from autoseg.training.distributed import joined
    from autoseg.training.request import Means, Training
    from autoseg.validation import WholeCases
    from autoseg.workspace import open_workspace

    with joined() as ranks:
        is_silent = quiet or as_json or not ranks.is_first
        if is_silent:
            logging.getLogger("autoseg").setLevel(logging.WARNING)
        folder = open_workspace(workspace).chosen(dataset)
        if not is_silent and dataset is None:
            print(f"Data set {folder.path.name}, planned last (another: -d).")
        if ranks.size > 1 and not is_silent:
            print(f"{ranks.size} processes share each batch.")
        asked = Training(
            configuration,
            folds=fold_names(fold),
            name=name,
            recipe=recipe,
            init_from=init_from,
            settings=overrides(settings or (), epochs=epochs, iterations=iterations, seed=seed, tensorboard=tensorboard),
            time_budget_s=None if time_budget is None else seconds_of(time_budget),
            restart=restart,
        )
        if asked.time_budget_s is not None and not is_silent:
            print(_beside_the_budget(is_validated=validation and tuple(asked.folds) != (ALL,)))
        means = Means(
            device=device,
            threads=ranks.own_threads(threads),
            progress=bars(is_silent),
            observer=display(is_silent),
            ranks=ranks,
            judge=WholeCases(folder, progress=bars(is_silent)) if validation else None,
            beside=side_by_side(devices_of(devices, device=device, ranks=ranks.size), quiet=is_silent),
        )
        results = cascade.train(folder, asked, means=means)
    if not ranks.is_first:
        return
    if as_json:
        print_json([_for_machines(result) for result in results])
    elif not quiet:
        _report(results)


def _beside_the_budget(*, is_validated: bool) -> str:
    after = ", predicting and evaluating the held-out cases after it (--no-validation leaves that out)"
    return f"The time budget is for training alone: preprocessing comes before it{after if is_validated else ''}."


def _list_recipes(*, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from autoseg.planning.recipes import load_recipe, recipe_names

    found = [load_recipe(name) for name in recipe_names()]
    if as_json:
        print_json([recipe.model_dump(mode="json") for recipe in found])
        return
    table = Table("recipe", "for", "what", "source")
    for recipe in found:
        table.add_row(recipe.name, f"{recipe.dimensions}-D" if recipe.dimensions else "any", recipe.title, recipe.source)
    Console().print(table)


def overrides(
    settings: Sequence[str],
    *,
    epochs: int | None,
    iterations: int | None,
    seed: int | None,
    tensorboard: bool | None = None,
) -> list[str]:
    """All values set on the command line as KEY=VALUE; options of their own come last and win."""
    own = {"epochs": epochs, "iterations_per_epoch": iterations, "seed": seed, "tensorboard": tensorboard}
    return [*settings, *(f"training.{key}={str(value).lower()}" for key, value in own.items() if value is not None)]


def devices_of(text: str | None, *, device: str, ranks: int) -> list[str]:
    """The devices that `--devices` lists, numbers as those of GPUs. Raises TrainingError beside another choice of them."""
    if text is None:
        return []
    if device != "auto" or ranks > 1:
        other = f"--device {device}" if device != "auto" else "torchrun, whose processes train one fold together"
        raise TrainingError(
            f"--devices {text} trains folds side by side and cannot be used with {other}. Give one of both."
        )
    return [f"cuda:{part.strip()}" if part.strip().isdigit() else part.strip() for part in text.split(",") if part.strip()]


def seconds_of(text: str) -> float:
    """Seconds that a time such as 30s, 20m, 1h30m or 2d stands for. Raises TrainingError for anything else."""
    parts = _PART.findall(text)
    total = sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)
    if not total or _PART.sub("", text).strip():
        raise TrainingError(f"--time-budget {text!r}: expected a time with its unit, for example 30s, 20m, 1h30m or 2d.")
    return total


def _for_machines(result: "FoldResult") -> dict[str, Any]:
    scores = result.scores
    return {
        **result.card.model_dump(mode="json"),
        "model": str(result.model),
        "was_finished": result.was_finished,
        "validation": None if scores is None else {**asdict(scores), "folder": str(scores.folder)},
    }


def _report(results: Sequence["FoldResult"]) -> None:
    for result in results:
        card = result.card
        done = (
            "was trained before"
            if result.was_finished
            else f"{number_of(card.steps, 'step')} in {card.seconds / 60:.1f} min"
        )
        dice = "-" if card.mean_pseudo_dice is None else f"{card.mean_pseudo_dice:.3f}"
        print(f"fold {card.fold}: {done}, pseudo-Dice {dice}{_shown(result.scores)}")
    print(f"Model: {results[0].model}")
    print(f"Next: autoseg_predict -i IN -o OUT -m {results[0].model}")


def _shown(scores: "FoldScores | None") -> str:
    if scores is None:
        return ""
    dice = "undefined" if scores.mean_dice is None else f"{scores.mean_dice:.3f}"
    return f"; Dice {dice} in {scores.cases} held-out cases ({scores.folder / 'evaluation.json'})"


main = command_line(train)

if __name__ == "__main__":
    main()
