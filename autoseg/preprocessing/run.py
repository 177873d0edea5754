"""Preprocessing the training cases of a data set for one configuration; what is up to date is left alone."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from autoseg.artefacts import FROZEN, digest, load, save
from autoseg.data.dataset import Case, Dataset
from autoseg.data.labels import LabelScheme
from autoseg.data.readers import read_case, read_header, read_labels
from autoseg.errors import DatasetError, ImageError, LabelError, unknown_name
from autoseg.lock import locked
from autoseg.parallel import map_cases
from autoseg.planning.plan import Configuration, Normalisation, Plan, Resampling
from autoseg.preprocessing.case import prepare
from autoseg.preprocessing.memory import case_bytes
from autoseg.preprocessing.store import STORE_FORMAT, is_stored, save_case
from autoseg.progress import SILENT, Progress
from autoseg.resources import sensible_workers
from autoseg.workspace import DatasetFolder

logger = logging.getLogger(__name__)


class PreprocessingSettings(BaseModel):
    """The part of a plan that a preprocessed case depends on; batch size, epochs and the like are not in it."""

    model_config = FROZEN
    format: int
    channels: tuple[str, ...]
    labels: LabelScheme
    orientation: str | None
    transpose_forward: tuple[int, int, int]
    spacing_mm: tuple[float, ...]
    normalisation: tuple[Normalisation, ...]
    resampling: Resampling


class SourceStamp(BaseModel):
    """What one case is made from: the settings, and each of its files with size and time of change (ns)."""

    model_config = FROZEN
    settings: str
    files: tuple[tuple[str, int, int], ...]


class Manifest(BaseModel):
    """The preprocessed cases of a configuration and what each was made from (digest of its SourceStamp).

    `made_from` maps "fingerprint" and "settings" to their digests.
    """

    model_config = FROZEN
    configuration: str
    cases: dict[str, str]
    made_from: dict[str, str]

    @property
    def ids(self) -> tuple[str, ...]:
        """The cases, in the data set's order."""
        return tuple(self.cases)


def preprocess(
    dataset: Dataset,
    fingerprint_digest: str,
    plan: Plan,
    configuration_name: str,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Manifest:
    """Store every training case in `folder` as the configuration wants it; only what is missing or stale is made.

    `workers` None takes as many as cores and memory allow. While another process works in `folder` it is waited for; what
    that one has stored is then up to date. Raises UnknownNameError for a configuration that the plan does
    not have, and the error of the first case that cannot be read.
    """
    if configuration_name not in plan.configurations:
        raise unknown_name("configuration", configuration_name, plan.configurations)
    configuration = plan.configurations[configuration_name]
    settings = digest(relevant_settings(plan, configuration))
    stamps = {case.id: _stamp(case, dataset.folder, settings) for case in dataset.cases}
    manifest = Manifest(
        configuration=configuration_name,
        cases=stamps,
        made_from={"fingerprint": fingerprint_digest, "settings": settings},
    )
    with locked(folder):
        for unfinished in folder.glob("**/.writing-*"):  # left by a run that was killed
            unfinished.unlink()
        _store_pending(dataset, plan, configuration, folder, stamps=stamps, workers=workers, progress=progress)
        save(manifest, folder / "manifest.json")
    return manifest


def _store_pending(
    dataset: Dataset,
    plan: Plan,
    configuration: Configuration,
    folder: Path,
    *,
    stamps: dict[str, str],
    workers: int | None,
    progress: Progress,
) -> None:
    pending = [case for case in dataset.cases if not is_stored(folder, case.id, made_from=stamps[case.id])]
    logger.debug("%s: %d of %d cases are up to date", configuration.name, len(stamps) - len(pending), len(stamps))
    if pending:
        # Settings travel by value: the work may be done in another process or on another machine.
        work = partial(_preprocess_case, root=dataset.folder, plan=plan, configuration=configuration, folder=folder)
        map_cases(
            work,
            [(case, stamps[case.id]) for case in pending],
            name=_id_of,
            stage=f"preprocessing {configuration.name}",
            workers=_workers(pending, dataset.folder, plan, configuration) if workers is None else workers,
            progress=progress,
        )


def stored_as(plan: Plan, configuration_name: str) -> str:
    """The configuration under whose name the cases lie: the first of the plan that wants the very same ones.

    A cascade shares those of the full resolution. Raises UnknownNameError for a configuration that the plan does not have.
    """
    if configuration_name not in plan.configurations:
        raise unknown_name("configuration", configuration_name, plan.configurations)
    wanted = relevant_settings(plan, plan.configurations[configuration_name])
    return next(name for name, other in plan.configurations.items() if relevant_settings(plan, other) == wanted)


def store_of(folder: DatasetFolder, plan: Plan, configuration_name: str) -> Path:
    """Where the cases lie that a configuration of `plan` wants: those of the planned data set under a plain name.

    A plan with values set by hand that change the cases has a folder of its own, named after them, so that two trainings
    with different ones do not make each other's cases anew.
    """
    planned = load(Plan, folder.plan_file, remake="autoseg_plan DATASET")
    wanted = relevant_settings(plan, plan.configurations[stored_as(plan, configuration_name)])
    for name, other in planned.configurations.items():
        if relevant_settings(planned, other) == wanted:
            return folder.preprocessed(name)
    return folder.preprocessed(f"{configuration_name}-{digest(wanted)[:8]}")


def relevant_settings(plan: Plan, configuration: Configuration) -> PreprocessingSettings:
    """What of the plan decides how a case is preprocessed."""
    return PreprocessingSettings(
        format=STORE_FORMAT,
        channels=plan.channels,
        labels=plan.labels,
        orientation=plan.orientation,
        transpose_forward=plan.transpose_forward,
        spacing_mm=configuration.spacing_mm,
        normalisation=configuration.normalisation,
        resampling=configuration.resampling,
    )


def _preprocess_case(item: tuple[Case, str], *, root: Path, plan: Plan, configuration: Configuration, folder: Path) -> None:
    case, made_from = item
    label_path = case.label_path(root)
    if label_path is None:
        raise DatasetError(f"case {case.id}: has no label map. Training cases need one; list it as a test case instead.")
    image = read_case(case, root, channels=plan.channels)
    try:
        values, _ = read_labels(label_path)
        if values.shape != image.voxels.shape[1:]:
            raise ImageError(
                f"{label_path}: has the shape {values.shape}, its image {image.voxels.shape[1:]}. "
                "Resample the label map onto the image, or leave the case out."
            )
        prepared = prepare(image, plan, configuration, classes=plan.labels.encode(values))
    except (ImageError, LabelError) as error:
        raise type(error)(f"case {case.id}: {error}") from error
    save_case(folder, case.id, prepared, labels=plan.labels, made_from=made_from)


def _id_of(item: tuple[Case, str]) -> str:
    return item[0].id


def _files(case: Case, root: Path) -> list[Path]:
    label = case.label_path(root)
    return [*case.image_paths(root), *([label] if label else [])]


def _stamp(case: Case, root: Path, settings: str) -> str:
    try:
        stats = [path.stat() for path in _files(case, root)]
    except OSError as error:
        raise DatasetError(
            f"case {case.id}: {error.filename} cannot be found ({error.strerror}). "
            "Restore the file, or plan anew without it: autoseg_plan DATASET"
        ) from error
    # Names as the data set lists them: moving its folder as a whole changes nothing.
    names = [*case.images, *([case.label] if case.label else [])]
    files = tuple((name, found.st_size, found.st_mtime_ns) for name, found in zip(names, stats, strict=True))
    return digest(SourceStamp(settings=settings, files=files))


def _workers(cases: Sequence[Case], root: Path, plan: Plan, configuration: Configuration) -> int:
    """As many workers as fit when all work on the case with the largest files."""
    largest = max(cases, key=lambda case: sum(path.stat().st_size for path in _files(case, root)))
    geometry = read_header(largest.image_paths(root)[0]).geometry
    return sensible_workers(case_bytes(geometry, plan, configuration))
