"""From what the user named to the cases to view: files, folders, data sets and models in any arrangement autoseg knows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoseg.artefacts import load
from autoseg.data.dataset import Case, Dataset
from autoseg.data.layouts.recognise import find_dataset, recognise, recognise_patient
from autoseg.data.readers import image_stem, is_image
from autoseg.errors import ArtefactError, DatasetError, PredictionError, ViewerError, WorkspaceError
from autoseg.evaluation.evaluate import Evaluation
from autoseg.evaluation.pairing import Files
from autoseg.evaluation.run import EVALUATION_FILE
from autoseg.prediction.files import ENTROPY, VARIANCE, is_map, map_file
from autoseg.prediction.inputs import find_cases
from autoseg.prediction.report import REPORT_FILE, PredictionReport
from autoseg.viewer.cases import Collection, ViewCase, files_by_case, maps_by_case, refuse_strangers
from autoseg.workspace import DatasetFolder, Workspace

EVALUATE_AGAIN = "autoseg_evaluate -p PREDICTIONS -d DATASET"
PLAN_AGAIN = "autoseg_plan DATASET"
PREDICT_AGAIN = "autoseg_predict -i IN -o OUT"
MODEL_CARD = "model.json"


@dataclass(frozen=True)
class Named:
    """What the user named: anything at all, and by their roles images, predictions, references, maps of uncertainty.

    `dataset` is a planned data set, whose model may be named by `model`.
    """

    what: str | None = None
    images: Path | None = None
    predictions: Path | None = None
    references: Path | None = None
    uncertainty: Path | None = None
    dataset: str | None = None
    model: str | None = None


def gather(named: Named, workspace: Workspace | None) -> Collection:
    """The cases to view. `workspace` is None where there is none yet.

    Raises AutosegErrors that say what was looked for and what to name instead.
    """
    named = _with_roles(named)
    found = _base(named, workspace)
    ids = [case.id for case in found.cases]
    if named.predictions is not None:
        files = files_by_case(named.predictions, what="predictions", ids=ids)
        files = {stem: path for stem, path in files.items() if not is_map(stem, files)}
        found = _with_predictions(found, files, named, workspace).with_maps(_maps_beside(files))
    if named.references is not None:
        ids = [case.id for case in found.cases]
        references = files_by_case(named.references, what="references", ids=ids)
        refuse_strangers(references, ids, what="references", others="the other cases")
        found = _without_other_scores(found, named.references).with_references(references)
    if named.uncertainty is not None:
        found = found.with_maps(maps_by_case(named.uncertainty, ids=[case.id for case in found.cases]))
    if not found.cases:
        raise ViewerError(f"{found.title}: no case to show.")
    return found


def _with_roles(named: Named) -> Named:
    """A folder of predictions that autoseg wrote is known by what lies in it."""
    path = None if named.what is None else Path(named.what).expanduser()
    if path is None or not path.is_dir() or named.predictions is not None:
        return named
    if not (path / MODEL_CARD).exists() and any((path / name).exists() for name in (EVALUATION_FILE, REPORT_FILE)):
        return replace(named, what=None, predictions=path)
    return named


def _base(named: Named, workspace: Workspace | None) -> Collection:
    """The cases by their images, before anything else is laid over them; none where only label maps are named."""
    if named.images is not None:
        return of_images(named.images)
    if named.what is None:
        if named.predictions is not None or named.references is not None:
            return Collection(title=(named.predictions or named.references or Path()).absolute().name, cases=())
        return _planned(_chosen(named.dataset, workspace), named.model)
    path = Path(named.what).expanduser()
    planned = _planned_as(named.what, workspace)
    if planned is not None:
        return _planned(planned, named.model)
    if (path / MODEL_CARD).is_file():
        return _of_model(path)
    return of_images(path if path.exists() else find_dataset(named.what, planned=workspace.planned() if workspace else ()))


def of_images(path: Path) -> Collection:
    """The cases at `path`: an image, a patient's folder, a data set as it was downloaded, or any folder of images."""
    if path.is_file() and is_image(path):
        return Collection(title=path.name, cases=(ViewCase(image_stem(path), (path.absolute(),)),))
    try:
        return _of_dataset(recognise_patient(path))
    except DatasetError:
        pass
    try:
        return _of_dataset(recognise(path))
    except DatasetError as error:
        if not path.is_dir():
            raise
        try:
            cases = find_cases(path, channels=())
        except PredictionError:
            raise error from None
    return Collection(title=path.absolute().name, cases=_as_cases(cases, Path("/")))


def _of_dataset(dataset: Dataset) -> Collection:
    cases = _as_cases((*dataset.cases, *dataset.test_cases), dataset.folder)
    return Collection(title=dataset.name, cases=cases, channels=dataset.channels, scheme=dataset.labels)


def _as_cases(cases: Sequence[Case], root: Path) -> tuple[ViewCase, ...]:
    found = (ViewCase(case.id, tuple(case.image_paths(root)), reference=case.label_path(root)) for case in cases)
    return tuple(sorted(found, key=lambda case: case.id))


def _planned(folder: DatasetFolder, model: str | None) -> Collection:
    """A planned data set, with what its model (the usual one, unless one is named) predicted of held-out cases."""
    if model is None and not any(folder.models.glob(f"*/{MODEL_CARD}")):
        return _of_dataset(load(Dataset, folder.dataset_file, remake=PLAN_AGAIN))
    from autoseg.prediction.ensemble import choose_models, is_model_folder

    given = None if model is None or not is_model_folder(Path(model)) else Path(model)
    return _with_model(folder, given or choose_models(folder, names=[model] if model else [])[0])


def _of_model(model: Path) -> Collection:
    """The cases of which a model folder holds validation predictions, with those images of them that are known."""
    found = _with_model(DatasetFolder(model.absolute().parent.parent), model)
    predicted = [case.id for case in found.cases if case.prediction is not None]
    if not predicted:
        raise ViewerError(
            f"{model}: holds no evaluated validation predictions. They are made at the end of a training; "
            "to view other predictions of the model name their folder with -p."
        )
    return found.only(predicted)


def _with_model(folder: DatasetFolder, model: Path) -> Collection:
    from autoseg.report.sources import of_dataset

    sources = of_dataset(folder, model)
    found = Collection(title=sources.title, cases=()) if sources.dataset is None else _of_dataset(sources.dataset)
    found = replace(found, title=sources.title, evaluation=sources.evaluation, notes=sources.problems)
    if found.scheme is None and sources.evaluation is not None:
        found = replace(found, scheme=sources.evaluation.scheme)
    return found.with_predictions(sources.predictions)


def _with_predictions(found: Collection, files: Files, named: Named, workspace: Workspace | None) -> Collection:
    """The collection with the predictions, what is stored of their scores, and their images where only they were named."""
    assert named.predictions is not None, "these are its files"
    if found.cases:
        refuse_strangers(files, [case.id for case in found.cases], what="predictions", others="the images")
    else:
        dataset = _dataset_of(named, files, workspace)
        found = found if dataset is None else replace(_of_dataset(dataset).only(files), title=found.title)
    evaluation, notes = _stored(named.predictions, files)
    report, more = _reported(named.predictions)
    known = found.scheme or (report.labels if report is not None else None)
    scheme = evaluation.scheme if evaluation is not None else known
    found = replace(found, evaluation=evaluation, report=report, notes=(*found.notes, *notes, *more), scheme=scheme)
    return _with_references_of(evaluation, found.with_predictions(files))


def _reported(predictions: Path) -> tuple[PredictionReport | None, list[str]]:
    """What a run of autoseg_predict left beside predictions, and a note where it is damaged."""
    path = (predictions if predictions.is_dir() else predictions.parent) / REPORT_FILE
    if not path.is_file():
        return None, []
    try:
        return load(PredictionReport, path, remake=PREDICT_AGAIN), []
    except ArtefactError as error:
        return None, [str(error)]


def _without_other_scores(found: Collection, references: Path) -> Collection:
    """The collection without stored scores, where these were computed against other references than those named."""
    folder = references.absolute() if references.is_dir() else references.absolute().parent
    if found.evaluation is None or Path(found.evaluation.references).resolve() == folder.resolve():
        return found
    note = f"The stored scores are those against {found.evaluation.references}: Dice is computed anew."
    return replace(found, evaluation=None, notes=(*found.notes, note))


def _maps_beside(predictions: Files) -> dict[str, dict[str, Path]]:
    """The maps of uncertainty that autoseg_predict wrote beside label maps, by case id and name."""
    found = {}
    for case_id, path in predictions.items():
        maps = {kind: map_file(path.parent, image_stem(path), kind) for kind in (ENTROPY, VARIANCE)}
        found[case_id] = {kind: file for kind, file in maps.items() if file.is_file()}
    return found


def _with_references_of(evaluation: Evaluation | None, found: Collection) -> Collection:
    """The collection with those references that it was evaluated against and does not know already."""
    folder = None if evaluation is None else Path(evaluation.references)
    if folder is None or not folder.is_dir():
        return found
    lacking = {case.id for case in found.cases if case.reference is None}
    files = {image_stem(path): path for path in sorted(folder.iterdir()) if is_image(path) and path.is_file()}
    taken = {case_id: path for case_id, path in files.items() if case_id in lacking}
    if not taken:
        return found
    note = f"References are those of the stored evaluation, in {folder}."
    return replace(found.with_references(taken), notes=(*found.notes, note))


def _dataset_of(named: Named, files: Files, workspace: Workspace | None) -> Dataset | None:
    """The data set of predictions without images: that of their model, the one named, or that planned last if it fits."""
    assert named.predictions is not None, "these are its files"
    beside = named.predictions.absolute().parent.parent
    if (beside / MODEL_CARD).is_file():
        folder = DatasetFolder(beside.parent.parent)
        return load(Dataset, folder.dataset_file, remake=PLAN_AGAIN) if folder.dataset_file.is_file() else None
    if named.dataset is None and (workspace is None or not workspace.planned()):
        return None
    try:
        dataset = load(Dataset, _chosen(named.dataset, workspace).dataset_file, remake=PLAN_AGAIN)
    except WorkspaceError:
        if named.dataset is not None:
            raise
        return None
    ids = [case.id for case in (*dataset.cases, *dataset.test_cases)]
    if named.dataset is not None:
        refuse_strangers(files, ids, what="predictions", others=f"the cases of {dataset.name}")
    return dataset if set(files) & set(ids) else None


def _stored(predictions: Path, files: Files) -> tuple[Evaluation | None, list[str]]:
    """The evaluation that lies beside predictions, unless it is damaged or older than one of them, and a note then."""
    path = (predictions if predictions.is_dir() else predictions.parent) / EVALUATION_FILE
    if not path.is_file():
        return None, []
    try:
        evaluation = load(Evaluation, path, remake=EVALUATE_AGAIN)
    except ArtefactError as error:
        return None, [str(error)]
    written = path.stat().st_mtime
    newer = sorted(case_id for case_id, file in files.items() if file.stat().st_mtime > written)
    if newer:
        return None, [f"{path} is older than the prediction of {newer[0]}: Dice is computed anew. Or: {EVALUATE_AGAIN}"]
    return evaluation, []


def _planned_as(what: str, workspace: Workspace | None) -> DatasetFolder | None:
    """The planned data set called `what`, or planned from the folder `what`; None for none."""
    if workspace is None:
        return None
    path = Path(what).expanduser()
    if not path.exists():
        return workspace.dataset(what) if what in workspace.planned() else None
    folders = [workspace.dataset(name) for name in workspace.planned()]
    return next((folder for folder in folders if _root_of(folder) == path.resolve()), None)


def _root_of(folder: DatasetFolder) -> Path | None:
    """Where a planned data set lies; None where what is stored of it is damaged, which matters only once it is named."""
    try:
        return load(Dataset, folder.dataset_file, remake=PLAN_AGAIN).folder.resolve()
    except ArtefactError:
        return None


def _chosen(dataset: str | None, workspace: Workspace | None) -> DatasetFolder:
    if workspace is None:
        raise ViewerError(
            "nothing to view: no data set has been planned here. Name an image, a patient's folder, a data set, or "
            "predictions with -p."
        )
    return workspace.chosen(dataset)
