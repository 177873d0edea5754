"""`autoseg_evaluate`: compare predictions with references, and sets of predictions with each other."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.console import bars, command_line
from autoseg.errors import EvaluationError, WorkspaceError
from autoseg.extend import resolve
from autoseg.workspace import open_workspace

if TYPE_CHECKING:
    from autoseg.data.dataset import Dataset
    from autoseg.evaluation.pairing import Files
    from autoseg.evaluation.settings import Settings

    Sought = Path | Callable[[Sequence[str]], Files]

REMAKE = "autoseg_plan DATASET"


def evaluate(
    *,
    predictions: Annotated[
        Path | None, typer.Option("-p", "--predictions", help="Folder with one label file for each case.")
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            "-r", "--references", help="Folder with the references under the same names; else the data set's own."
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("-d", "--dataset", help="Planned data set that names labels and regions (the one planned last)."),
    ] = None,
    fold: Annotated[
        str | None, typer.Option("-f", "--fold", help="Evaluate the validation predictions stored with this fold.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="With -f: model folder, or the name of one (the usual one).")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", help="Two folders of predictions, or their evaluation.json: paired tests."),
    ] = None,
    any_labels: Annotated[
        bool, typer.Option("--any-labels", help="Ask no data set: each value in the references is a label.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out references without a prediction, and say so.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Tolerance in mm of the normalised surface distance.")
    ] = 1.0,
    lesions: Annotated[
        str, typer.Option("--lesions", help="Challenge whose lesion sizes count: gli, ssa, ped, men, met.")
    ] = "gli",
    undefined: Annotated[
        str, typer.Option("--undefined", help="What stands for undefined values: none, brats2020, brats2023.")
    ] = "none",
    stratify: Annotated[
        str | None, typer.Option("--stratify", help="FILE.csv:COLUMN: summarise apart by the values of a column.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Metric to show in detail or in --format; may be repeated.")
    ] = None,
    table_format: Annotated[
        str | None, typer.Option("--format", help="Print a table for a paper instead: latex, markdown.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Where evaluation.json and per_case.csv go (the predictions' folder)."),
    ] = None,
    workspace: Annotated[Path | None, typer.Option("-w", "--workspace", help="Where plans lie.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Cases evaluated at a time.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the evaluation for machines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Compare predictions with references: overlap, surface distances, volumes and lesions of each label and region."""
    from autoseg.cli import evaluate_output
    from autoseg.evaluation import run
    from autoseg.evaluation.strata import parse_stratify

    if sum(given is not None for given in (predictions, fold, compare)) != 1:
        raise EvaluationError("name what to evaluate: a folder with -p, a trained fold with -f, or two with --compare.")
    show = evaluate_output.Show(tuple(metric or ()), table_format=table_format, as_json=as_json, quiet=quiet)
    known = None if any_labels else _dataset(dataset, workspace=workspace)
    if known is not None and dataset is None:
        show.note(f"Labels and regions of data set {known.name}, planned last (another: -d, none: --any-labels).")
    if fold is not None:
        predictions = _fold_predictions(fold, model, dataset=dataset, workspace=workspace)
    one = partial(
        run.evaluate,
        labels=known.labels if known is not None else None,
        settings=_settings(tolerance, lesions=lesions, undefined=undefined),
        stratify=parse_stratify(stratify) if stratify is not None else None,
        metrics=show.computed,
        allow_missing=allow_missing,
        workers=workers,
        progress=bars(quiet),
    )
    sought = _references(references, known, whole=fold is None)
    if compare is not None:
        evaluate_output.compare_sets(compare, one=lambda folder: one(folder, _found(sought)), show=show, output=output)
        return
    assert predictions is not None, "one of the three is given"
    evaluation = one(predictions, _found(sought), output=output)
    evaluate_output.show_evaluation(evaluation, output or predictions, show=show)


def _settings(tolerance: float, *, lesions: str, undefined: str) -> "Settings":
    from autoseg.evaluation.lesions import LESION_RULES
    from autoseg.evaluation.settings import CONVENTIONS, Settings

    return Settings(
        tolerance_mm=tolerance,
        lesions=resolve("challenge", lesions, LESION_RULES),
        undefined=resolve("convention for undefined values", undefined, CONVENTIONS),
    )


def _references(references: Path | None, known: "Dataset | None", *, whole: bool) -> "Sought | None":
    """Where references come from: a folder, or a data set, of which all cases are expected unless only a fold's are."""
    from autoseg.evaluation.pairing import dataset_references

    if references is not None:
        return references
    if known is None:
        return None
    return partial(dataset_references, known, whole=whole)


def _found(sought: "Sought | None") -> "Sought":
    if sought is None:
        raise EvaluationError("no references: name their folder with -r, or a planned data set with labels with -d.")
    return sought


def _fold_predictions(fold: str, model: str | None, *, dataset: str | None, workspace: Path | None) -> Path:
    """The validation predictions stored with a fold; every case that was held out must be among them."""
    from autoseg.evaluation.stored import fold_predictions
    from autoseg.prediction.ensemble import choose_models, is_model_folder

    if model is not None and is_model_folder(Path(model)):
        return fold_predictions(Path(model), fold)
    folder = open_workspace(workspace).chosen(dataset)
    return fold_predictions(choose_models(folder, names=[model] if model else [])[0], fold)


def _dataset(name: str | None, *, workspace: Path | None) -> "Dataset | None":
    """The planned data set `name`, or the one planned last; None when none is named and none was ever planned."""
    from autoseg.artefacts import load
    from autoseg.data.dataset import Dataset

    try:
        folder = open_workspace(workspace).chosen(name)
    except WorkspaceError:
        if name is not None:
            raise
        return None
    return load(Dataset, folder.dataset_file, remake=REMAKE)


main = command_line(evaluate)
