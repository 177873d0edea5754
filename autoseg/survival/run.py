"""The three stages of survival analysis on files: features of cases, training a model, forecasts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel

from autoseg.artefacts import FROZEN, digest, load, refuse_unwritable, save
from autoseg.csv_table import write_csv
from autoseg.data.dataset import Case, Dataset
from autoseg.data.image import compare_grids
from autoseg.data.readers import read_case, read_labels
from autoseg.errors import SurvivalError
from autoseg.evaluation.pairing import label_files
from autoseg.parallel import map_cases
from autoseg.prediction.inputs import find_cases
from autoseg.progress import SILENT, Progress
from autoseg.survival.clinical import Columns, Patient, read_clinical
from autoseg.survival.cohort import Cohort, as_array, make_cohort, matching
from autoseg.survival.definitions import Column, columns_of
from autoseg.survival.features import Features, case_features, region_names
from autoseg.survival.mapping import IdMapping, read_mapping
from autoseg.survival.model import RISK_GROUPS, Forecast, SurvivalModel, forecast, refuse_missing
from autoseg.survival.pictures import write_pictures
from autoseg.survival.tables import Rows, read_features, write_features
from autoseg.survival.training import risk_groups, train_model
from autoseg.survival.validation import AUTOMATIC, Answers

FEATURES_FILE = "features.csv"
DEFINITIONS_FILE = "features.json"
MODEL_FILE = "survival_model.json"
OUT_OF_FOLD_FILE = "out_of_fold.csv"
FORECAST_FILE = "survival.csv"
REMAKE_MODEL = "autoseg_survival train"


class FeatureTable(BaseModel):
    """What the columns of a feature file mean, and the cases in it."""

    model_config = FROZEN
    columns: tuple[Column, ...]
    cases: tuple[str, ...]
    without_segmentation: tuple[str, ...]
    made_from: dict[str, str]


@dataclass(frozen=True)
class _Work:
    """A case to be measured: its images and its segmentation."""

    case: Case
    segmentation: Path


def features(
    dataset: Dataset,
    *,
    segmentations: Path | None = None,
    images: Path | None = None,
    clinical: Path | None = None,
    mapping: Path | None = None,
    output: Path,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> FeatureTable:
    """Measure every case and write features.csv and features.json to the folder `output`.

    `dataset` says what channels and labels mean. `segmentations` is a folder of label files (None: the data set's own
    labels), `images` where their images lie (None: the data set's). Clinical features of `clinical` are joined by id, or by
    `mapping`. Raises SurvivalError for segmentations without image, or on another grid.
    """
    known = read_clinical(clinical) if clinical is not None else []
    ids = read_mapping(mapping) if mapping is not None else None
    refuse_unwritable(output, remedy="Choose another folder with -o DIR.")
    work, unsegmented = _work(dataset, segmentations, images)
    measured = _measured(work, dataset, workers=workers, progress=progress)
    rows = {id_: row | _clinical(id_, known, ids) for id_, row in measured.items()}
    table = FeatureTable(
        columns=columns_of(region_names(dataset.labels), dataset.channels),
        cases=tuple(rows),
        without_segmentation=unsegmented,
        made_from={"labels": digest(dataset.labels)},
    )
    write_features(rows, output / FEATURES_FILE)
    save(table, output / DEFINITIONS_FILE)
    return table


def measure(
    dataset: Dataset,
    *,
    segmentations: Path | None = None,
    images: Path | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Rows:
    """The imaging features of every segmented case by id, as `features` writes them."""
    work, _ = _work(dataset, segmentations, images)
    return _measured(work, dataset, workers=workers, progress=progress)


def train(
    clinical: Path,
    *,
    features_file: Path | None = None,
    mapping: Path | None = None,
    columns: Columns | None = None,
    families: Sequence[str] = (),
    output: Path,
    seed: int = 0,
    progress: Progress = SILENT,
) -> SurvivalModel:
    """Train on a clinical table, with imaging features where `features_file` is given, and judge it out of fold.

    Writes survival_model.json, out_of_fold.csv and the pictures kaplan_meier.png, calibration.png and effects.png to the
    folder `output`. Raises SurvivalError for tables that cannot be right and for too few patients.
    """
    patients = read_clinical(clinical, columns=columns, need_survival=True)
    imaging = read_features(features_file) if features_file is not None else None
    ids = read_mapping(mapping) if mapping is not None else None
    cohort, left_out = make_cohort(patients, imaging, mapping=ids)
    refuse_unwritable(output, remedy="Choose another folder with -o DIR.")
    sources = {"clinical": clinical} | ({"features": features_file} if features_file is not None else {})
    model, found = train_model(
        cohort,
        left_out,
        families=families,
        seed=seed,
        made_from={name: sha256(path.read_bytes()).hexdigest()[:16] for name, path in sources.items()},
        progress=progress,
    )
    save(model, output / MODEL_FILE)
    _write_out_of_fold(cohort, model, found, output / OUT_OF_FOLD_FILE)
    write_pictures(cohort, model, found[AUTOMATIC], output)
    return model


def predict(
    model_file: Path,
    *,
    rows: Rows,
    clinical: Path | None = None,
    mapping: Path | None = None,
    columns: Columns | None = None,
    output: Path,
) -> list[Forecast]:
    """Forecast each case of `rows` (features by id; clinical ones are joined), written to survival.csv in `output`.

    Without rows each patient of the `clinical` table is forecast. Raises SurvivalError for a column the model needs and
    neither source has.
    """
    model = open_survival_model(model_file)
    known = read_clinical(clinical, columns=columns) if clinical is not None else []
    ids = read_mapping(mapping) if mapping is not None else None
    joined = {id_: row | _clinical(id_, known, ids) for id_, row in rows.items()} or {
        patient.id: dict(patient.features) for patient in known
    }
    if not joined:
        raise SurvivalError("there is no case to forecast: give segmentations (-p), --features CSV or --clinical CSV.")
    there = list(dict.fromkeys(name for row in joined.values() for name in row))
    refuse_missing(model, there, where=str(clinical) if clinical is not None and not rows else "the features")
    refuse_unwritable(output, remedy="Choose another folder with -o DIR.")
    found = forecast(model, list(joined), as_array(list(joined.values()), model.preparation.columns))
    _write_forecasts(found, output / FORECAST_FILE)
    return found


def open_survival_model(path: Path) -> SurvivalModel:
    """The model in a file, or in a folder that `train` wrote."""
    return load(SurvivalModel, path / MODEL_FILE if path.is_dir() else path, remake=REMAKE_MODEL)


def _case_id(work: _Work) -> str:
    return work.case.id


def _work(dataset: Dataset, segmentations: Path | None, images: Path | None) -> tuple[list[_Work], tuple[str, ...]]:
    """Cases with image and segmentation, and ids of those that have an image alone."""
    listed = [*dataset.cases, *dataset.test_cases] if images is None else find_cases(images, channels=dataset.channels)
    cases = {case.id: case for case in listed}
    if segmentations is None:
        of_case: Mapping[str, Path] = {
            id_: path for id_, case in cases.items() if (path := case.label_path(dataset.folder)) is not None
        }
    else:
        of_case = label_files(segmentations, what="segmentations")
    lost = sorted(set(of_case) - set(cases))
    if lost or not of_case:
        what = f"segmentation of {lost[0]}" if lost else "segmentations"
        raise SurvivalError(
            f"no image for {len(lost)} of {len(of_case)} segmentations{f', first the {what}' if lost else ''}. Name the "
            "folder of the images with -i; they must have the names of the segmentations."
        )
    unsegmented = tuple(sorted(set(cases) - set(of_case)))
    return [_Work(cases[id_], path) for id_, path in sorted(of_case.items())], unsegmented


def _measured(work: Sequence[_Work], dataset: Dataset, *, workers: int | None, progress: Progress) -> Rows:
    found = map_cases(
        partial(_measure, dataset=dataset),
        work,
        name=_case_id,
        stage="survival features",
        workers=workers,
        progress=progress,
    )
    return {item.case.id: row for item, row in zip(work, found, strict=True)}


def _measure(work: _Work, *, dataset: Dataset) -> Features:
    image = read_case(work.case, dataset.folder, channels=dataset.channels)
    labels, geometry = read_labels(work.segmentation)
    for difference in compare_grids(geometry, image.geometry):
        if not difference.is_drift:
            raise SurvivalError(
                f"case {work.case.id}: {difference.field} of {work.segmentation} is {difference.first}, but that of its "
                f"image is {difference.second}. Both must lie on one grid: segment these images."
            )
    try:
        return case_features(labels, image, scheme=dataset.labels, channels=dataset.channels)
    except SurvivalError as error:
        raise SurvivalError(f"case {work.case.id} ({work.segmentation}): {error}") from error


def _clinical(id_: str, known: Sequence[Patient], ids: IdMapping | None) -> Features:
    by_id = {patient.id: patient for patient in known}
    if not by_id:
        return {}
    same = matching(id_, by_id, ids)
    names = dict.fromkeys(name for patient in known for name in patient.features)
    return dict(by_id[same].features) if same is not None else dict.fromkeys(names)


def _write_out_of_fold(cohort: Cohort, model: SurvivalModel, found: Mapping[str, Answers], path: Path) -> None:
    groups = risk_groups(found[AUTOMATIC].days, model.group_days)
    header = ["id", "days", "died", "risk_group", *(f"{name}_days" for name in found)]
    write_csv(
        path,
        header,
        [
            [
                cohort.ids[row],
                f"{cohort.days[row]:g}",
                str(int(cohort.died[row])),
                RISK_GROUPS[int(groups[row])],
                *(f"{answers.days[row]:.0f}" for answers in found.values()),
            ]
            for row in range(len(cohort))
        ],
    )


def _write_forecasts(found: Sequence[Forecast], path: Path) -> None:
    header = ["id", "days", "days_low", "days_high", "risk_group", "drivers", "unknown"]
    write_csv(
        path,
        header,
        [
            [
                one.id,
                f"{one.days:.0f}",
                f"{one.low:.0f}",
                f"{one.high:.0f}",
                one.group,
                "; ".join(f"{driver.feature} x{driver.factor:.2f}" for driver in one.drivers),
                "; ".join(one.unknown),
            ]
            for one in found
        ],
    )
