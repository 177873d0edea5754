"""`autoseg_predict`: segment images with a trained model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from autoseg.cli.beside_options import Classes, JsonLines, Quiet, Uncertainty, weights_of_each
from autoseg.cli.console import bars, command_line, end_with_failures, print_json_line
from autoseg.cli.folds import fold_names, numbers, words
from autoseg.cli.model_choice import chosen_models
from autoseg.cli.to_review import show_review
from autoseg.errors import PredictionError, number_of
from autoseg.prediction.settings import Arithmetic

if TYPE_CHECKING:
    from autoseg.prediction.report import CasePrediction, PredictionReport


def predict(
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the predictions.", metavar="OUT")],
    inputs: Annotated[
        Path | None,
        typer.Option("-i", "--input", help="An image, a folder of images or patients, or a DICOM series.", metavar="IN"),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            help="Where a channel lies: a DICOM series, a folder of one for each patient, or its name in IN.",
            metavar="NAME=DIR",
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option("-d", "--dataset", help="Planned data set (default: the last).")] = None,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where models lie.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("-m", "--model", help="Model folder, or the name of one; several are averaged.")
    ] = None,
    configuration: Annotated[
        list[str] | None, typer.Option("-c", "--configuration", help="Trained configuration; several are averaged.")
    ] = None,
    fold: Annotated[
        list[str] | None, typer.Option("-f", "--fold", help="Fold, several as 0 1 2, or all (default: each trained one).")
    ] = None,
    selection: Annotated[
        str | None,
        typer.Option(
            help="Correct label maps as autoseg_select chose, with -m or -c: its file, or a data set.", metavar="NAME"
        ),
    ] = None,
    checkpoint: Annotated[Literal["final", "best"], typer.Option(help="Which weights.")] = "final",
    quality: Annotated[
        str, typer.Option(help="fast, balanced or best: sets step, mirroring, folds and single large windows.")
    ] = "best",
    step: Annotated[float | None, typer.Option(help="Distance of windows as a share of the patch.")] = None,
    mirroring: Annotated[
        bool | None, typer.Option("--mirroring/--no-mirroring", help="Average over mirrored images.")
    ] = None,
    weights: Annotated[list[str] | None, weights_of_each("model")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write CASE_probabilities.nii.gz as well, a volume for each class.")
    ] = False,
    classes: Classes = None,
    uncertainty: Uncertainty = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave cases that this model has predicted before.")
    ] = False,
    precision: Annotated[
        Arithmetic, typer.Option(help="Arithmetic of the network. int8 is for processors, faster, and less exact.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    memory: Annotated[
        float | None, typer.Option(help="GiB of memory to stay within while predicting (default: 8).", metavar="GB")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="Where cases are worked on: processes, or dask://HOST:PORT.", metavar="WHERE")
    ] = None,
    devices: Annotated[
        str | None, typer.Option(help="One worker process on each, such as 0,1 or cpu,cpu.", metavar="LIST")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor cores to use.")] = None,
    as_json: JsonLines = False,
    quiet: Quiet = False,
) -> None:
    """Segment images with a trained model; predictions lie on the grid of their images and hold the known label values."""
    _check_inputs(inputs, channel or [])
    chosen = chosen_models(workspace, dataset, names=model or [], configurations=configuration or [], selection=selection)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    from autoseg.prediction.run import predict as predict_cases

    report = predict_cases(
        inputs,
        output,
        models=chosen.models,
        folds=fold_names(fold) or chosen.folds,
        rules=chosen.rules,
        which=checkpoint,
        quality=quality,
        step=step,
        mirroring=mirroring,
        precision=precision,
        device=device,
        memory_gb=memory,
        channels=dict(_named(pair) for pair in channel or []),
        executor=executor,
        devices=[name.strip() for name in devices.split(",")] if devices else (),
        weights=numbers("--weights", weights),
        probabilities=probabilities,
        classes=words(classes),
        uncertainty=uncertainty,
        skip_existing=skip_existing,
        progress=bars(quiet or as_json),
        on_case=_print_line if as_json else None,
    )
    if not (quiet or as_json):
        _show(report, output)
    end_with_failures([str(case.error) for case in report.failed], total=len(report.cases), action="predicted")


def _print_line(case: "CasePrediction", model: str) -> None:
    print_json_line({**case.model_dump(mode="json"), "model": model})


def _check_inputs(inputs: Path | None, channels: list[str]) -> None:
    """Refuse what is not there before a model is looked for."""
    from autoseg.prediction.inputs import refuse_missing

    for pair in channels:
        _named(pair)
    if inputs is not None:
        refuse_missing(inputs)
    elif not channels:
        raise PredictionError("nothing to predict. Name images or a folder with -i, or folders with --channel NAME=DIR.")


def _named(pair: str) -> tuple[str, str]:
    name, equals, place = pair.partition("=")
    if not (name and equals and place):
        raise PredictionError(f"--channel {pair}: expected NAME=DIR, such as --channel flair=FLAIR.")
    return name, place


def _show(report: "PredictionReport", output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    # Paths and lists must not be broken over lines: they are copied.
    console = Console(soft_wrap=True, highlight=False)
    total = number_of(len(report.cases), "case")
    console.print(f"{len(report.cases) - len(report.failed)} of {total} in {output}", markup=False)
    table = Table()
    columns = list(dict.fromkeys(name for case in report.cases for name in case.volumes_ml))
    for name in ("case", *(f"{column} (ml)" for column in columns), "seconds"):
        table.add_column(name, justify="left" if name == "case" else "right", no_wrap=name == "case")
    for case in report.cases:
        volumes = [f"{case.volumes_ml[name]:.2f}" if name in case.volumes_ml else "" for name in columns]
        state = "failed" if case.error else "was there" if case.skipped else f"{sum(case.seconds.values()):.1f}"
        table.add_row(case.id, *volumes, state)
    console.print(table)
    for case in report.cases:
        if case.absent:
            console.print(f"{case.id}: predicted without {', '.join(case.absent)}, which the case lacks", markup=False)
    show_review(report, console)
    stages = {
        name: sum(case.seconds.get(name, 0.0) for case in report.cases if not case.skipped) for name in _stages(report)
    }
    each = ", ".join(f"{name} {seconds:.1f}" for name, seconds in stages.items())
    console.print(
        f"{report.seconds:.1f} s{f' ({each})' if each else ''}, "
        f"{report.precision} on {report.device}, {', '.join(report.configurations)}, folds {', '.join(report.folds)}"
    )


def _stages(report: "PredictionReport") -> list[str]:
    return list(dict.fromkeys(name for case in report.cases for name in case.seconds))


main = command_line(predict)
