"""`autoseg_survival`: days of survival from segmentations and clinical data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.console import bars, command_group, print_json
from autoseg.errors import listed, number_of

if TYPE_CHECKING:
    from autoseg.data.dataset import Dataset
    from autoseg.survival.model import Forecast, SurvivalModel
    from autoseg.survival.scores import Score

Segmentations = Annotated[
    Path | None,
    typer.Option("-p", "--segmentations", help="Folder with one label file for each case (the data set's own labels)."),
]
Images = Annotated[Path | None, typer.Option("-i", "--images", help="Where their images lie (the data set's).")]
Clinical = Annotated[Path | None, typer.Option("--clinical", help="CSV with age, sex, resection, grade by patient id.")]
Mapping = Annotated[Path | None, typer.Option("--mapping", help="CSV with each patient's ids in the years of BraTS.")]
DatasetName = Annotated[
    str | None,
    typer.Option("-d", "--dataset", help="Data set, planned or a folder, that says what channels and labels are."),
]
WorkspaceFolder = Annotated[Path | None, typer.Option("-w", "--workspace", help="Where plans lie.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Cases measured at a time.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result for machines.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
IdColumn = Annotated[str | None, typer.Option("--id-column", help="Column with the patient ids.")]


SCORES = {
    "c_index": "C-index (95 %)",
    "spearman": "Spearman",
    "accuracy": "acc.",
    "mse_days2": "MSE",
    "median_se_days2": "median SE",
    "sd_se_days2": "SD SE",
    "integrated_brier": "Brier",
}
"""Scores in the table and their headings; squared errors are in days squared."""


def features(
    *,
    segmentations: Segmentations = None,
    images: Images = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for features.csv and features.json.")],
    dataset: DatasetName = None,
    clinical: Clinical = None,
    mapping: Mapping = None,
    workspace: WorkspaceFolder = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Measure segmentations: volumes, shape, position in the brain, intensities; a row for each case."""
    from autoseg.survival import run

    table = run.features(
        _dataset(dataset, workspace),
        segmentations=segmentations,
        images=images,
        clinical=clinical,
        mapping=mapping,
        output=output,
        workers=workers,
        progress=bars(quiet),
    )
    if quiet:
        return
    features = number_of(len(table.columns), "imaging feature")
    print(f"{number_of(len(table.cases), 'case')}, {features}: {output / run.FEATURES_FILE}")
    print(f"what each column means, with its unit: {output / run.DEFINITIONS_FILE}")
    if table.without_segmentation:
        ids = table.without_segmentation
        print(f"left out: {number_of(len(ids), 'image')} without a segmentation: {listed(ids)}")


def train(
    *,
    table: Annotated[Path, typer.Option("-t", "--table", help="CSV with survival and clinical data by patient id.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the model, its scores and pictures.")],
    features_file: Annotated[
        Path | None, typer.Option("--features", help="features.csv as autoseg_survival features wrote it.")
    ] = None,
    mapping: Mapping = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="cox, survival_forest, ridge or forest; several are compared (all)."),
    ] = None,
    id_column: IdColumn = None,
    time_column: Annotated[str | None, typer.Option("--time-column", help="Column with days.")] = None,
    event_column: Annotated[
        str | None, typer.Option("--event-column", help="Column that is 1 for died, 0 for alive when last seen.")
    ] = None,
    group_column: Annotated[
        str | None, typer.Option("--group-column", help="Column with the person, where one has several rows.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="A further column with numbers to learn from.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, forests and bootstrap.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train on patients whose survival is known, and judge it by nested cross-validation beside age alone."""
    from autoseg.survival import run
    from autoseg.survival.clinical import Columns

    columns = Columns(id_column, time_column, event_column, group_column, tuple(column or ()))
    trained = run.train(
        table,
        features_file=features_file,
        mapping=mapping,
        columns=columns,
        families=model or (),
        output=output,
        seed=seed,
        progress=bars(quiet or as_json),
    )
    if as_json:
        print_json(trained.validation.model_dump(mode="json"))
    elif not quiet:
        _show_validation(trained, output)


def predict(
    *,
    model: Annotated[Path, typer.Option("-m", "--model", help="Folder or file that autoseg_survival train wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for survival.csv.")],
    segmentations: Segmentations = None,
    images: Images = None,
    features_file: Annotated[
        Path | None, typer.Option("--features", help="features.csv, instead of measuring segmentations.")
    ] = None,
    clinical: Clinical = None,
    mapping: Mapping = None,
    id_column: IdColumn = None,
    dataset: DatasetName = None,
    workspace: WorkspaceFolder = None,
    workers: Workers = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Forecast days of survival with an interval, a risk group and the features that drove it."""
    from autoseg.survival import run
    from autoseg.survival.clinical import Columns
    from autoseg.survival.tables import Rows, read_features

    rows: Rows = {}
    if features_file is not None:
        rows = read_features(features_file)
    elif segmentations is not None or images is not None:
        rows = run.measure(
            _dataset(dataset, workspace),
            segmentations=segmentations,
            images=images,
            workers=workers,
            progress=bars(quiet or as_json),
        )
    found = run.predict(model, rows=rows, clinical=clinical, mapping=mapping, columns=Columns(id=id_column), output=output)
    if as_json:
        print_json([_plain(one) for one in found])
    elif not quiet:
        _show_forecasts(found, output / run.FORECAST_FILE)


def _dataset(text: str | None, workspace: Path | None) -> "Dataset":
    """A planned data set (the last one without a name), or one recognised where `text` names a folder."""
    from autoseg.artefacts import load
    from autoseg.data.dataset import Dataset
    from autoseg.data.layouts import find_dataset, recognise
    from autoseg.workspace import open_workspace

    root = open_workspace(workspace)
    if text is not None and text not in root.planned():
        return recognise(find_dataset(text))
    return load(Dataset, root.chosen(text).dataset_file, remake="autoseg_plan DATASET")


def _show_validation(model: "SurvivalModel", output: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True, highlight=False)
    validation = model.validation
    console.print(
        f"{validation.patients} patients, {validation.died} died; scores out of fold ({validation.outer_folds} folds, "
        f"settings chosen inside each by {validation.inner_folds}), 95 % intervals by bootstrap"
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("model", *SCORES.values()):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    rows = [(one.title, one.scores) for one in validation.families]
    for title, scores in [*rows, ("automatic choice", validation.automatic)]:
        c_index, *others = (scores[name] for name in SCORES)
        table.add_row(title, _told(c_index), *(_short(score) for score in others))
    console.print(table)
    if validation.against_age is not None:
        difference = validation.against_age.c_index
        console.print(f"C-index minus that of age alone: {_told(difference)}: {validation.against_age.verdict}.")
    left_out = len(validation.without_survival), len(validation.without_features)
    if any(left_out):
        console.print(f"Not used: {number_of(left_out[0], 'patient')} without survival, {left_out[1]} without features.")
    console.print(
        f"Fitted to all: {model.family}, {number_of(len(model.preparation.columns), 'feature')}. Written: {output}",
        markup=False,
    )
    console.print(model.notice)


def _told(score: "Score") -> str:
    if score.value is None or score.low is None:
        return _short(score)
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"


def _short(score: "Score") -> str:
    if score.value is None:
        return "-"
    return f"{score.value:.3f}" if abs(score.value) < 1000 else f"{score.value:.0f}"


def _show_forecasts(found: "list[Forecast]", path: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from autoseg.survival.model import INTERVAL, NOTICE

    console = Console(soft_wrap=True, highlight=False)
    table = Table()
    for name in ("case", "days", f"{INTERVAL:.0%} interval", "risk", "driven by"):
        table.add_column(name, justify="right" if name == "days" else "left")
    for one in found:
        drivers = ", ".join(f"{driver.feature} (x{driver.factor:.2f})" for driver in one.drivers)
        unknown = f"; not known: {', '.join(one.unknown)}" if one.unknown else ""
        table.add_row(one.id, f"{one.days:.0f}", f"{one.low:.0f} to {one.high:.0f}", one.group, drivers + unknown)
    console.print(table)
    console.print(f"Written: {path}", markup=False)
    console.print(NOTICE)


def _plain(one: "Forecast") -> dict[str, object]:
    return {
        "id": one.id,
        "days": round(one.days),
        "low": round(one.low),
        "high": round(one.high),
        "risk_group": one.group,
        "drivers": [driver.model_dump(mode="json") for driver in one.drivers],
        "unknown": list(one.unknown),
    }


main = command_group(features=features, train=train, predict=predict)
