"""The fingerprint of a data set: every case read once, or not at all when it is known already."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from statistics import median

from autoseg.artefacts import digest
from autoseg.data.check import Problem, channel_range, check_content, count_values, has_errors, unreadable_file
from autoseg.data.dataset import Case, Dataset
from autoseg.data.image import reorient_spacing
from autoseg.data.readers import read_files, read_labels
from autoseg.errors import ImageError, StaleError, listed, number_of
from autoseg.fingerprint.case import Measuring
from autoseg.fingerprint.fingerprint import CaseFingerprint, Fingerprint
from autoseg.fingerprint.record import CaseRecord, files_of, find_record, meaning_of, write_record
from autoseg.fingerprint.stamps import Stamping, is_unchanged
from autoseg.fingerprint.statistics import mix
from autoseg.parallel import map_cases
from autoseg.progress import SILENT, Progress

STAGE = "fingerprint"


def examine(
    dataset: Dataset,
    *,
    cache: Path,
    workers: int | None = None,
    progress: Progress = SILENT,
    executor: Executor | None = None,
) -> tuple[Fingerprint, list[Problem]]:
    """The fingerprint of the training cases, and all problems found in their voxels.

    Cases whose record in the folder `cache` is still true are not read. Cases with errors are left out of the
    fingerprint, so it is complete only where no problem is an error.
    """
    meaning, root = meaning_of(dataset), dataset.folder
    known = {case.id: find_record(cache, case, root=root, meaning=meaning) for case in dataset.cases}
    unread = [case for case in dataset.cases if known[case.id] is None]
    read = partial(read_and_record, dataset=dataset.model_copy(update={"cases": ()}), cache=cache, meaning=meaning)
    new = map_cases(read, unread, name=_id, stage=STAGE, workers=workers, progress=progress, executor=executor)
    fresh = {record.id: record for record in new}
    records = [known[case.id] or fresh[case.id] for case in dataset.cases]
    return assemble(dataset, records), [problem for record in records for problem in record.problems]


def _id(case: Case) -> str:
    return case.id


def read_and_record(case: Case, *, dataset: Dataset, cache: Path, meaning: str) -> CaseRecord:
    """Read and measure one case and keep the record in `cache`; a file that cannot be read is a problem."""
    record = examine_case(case, dataset=dataset)
    write_record(cache, record, meaning=meaning)
    return record


def examine_case(case: Case, *, dataset: Dataset) -> CaseRecord:
    """Read each file of a case once, one after the other, and measure it; cases with errors are not measured."""
    root = dataset.folder
    try:
        stamping = {name: Stamping(root / name) for name in files_of(case)}
        assert case.label is not None, "training cases have labels"
        labels, _ = read_labels(root / case.label, digest=stamping[case.label])
        counts, ranges = count_values(labels), []
        measuring = Measuring(labels, scheme=dataset.labels, label_voxels=counts)
        for image in read_files(case, root, channels=dataset.channels, digests=stamping):
            geometry = image.geometry
            is_same_grid = geometry.shape == labels.shape
            for channel in image.voxels:
                ranges.append(channel_range(channel))
                if is_same_grid and not ranges[-1].not_numbers:
                    measuring.add(channel)
    except ImageError as error:
        problem = unreadable_file(case, _culprit(case, error), error)
        return CaseRecord(id=case.id, files={}, measurement=None, problems=(problem,))
    problems = tuple(check_content(case, ranges=ranges, counts=counts, scheme=dataset.labels, channels=dataset.channels))
    return CaseRecord(
        id=case.id,
        files={name: one.stamp() for name, one in stamping.items()},
        measurement=None if has_errors(problems) or not is_same_grid else measuring.finish(geometry),
        problems=problems,
    )


def _culprit(case: Case, error: ImageError) -> str:
    """The file of the case that the error names, else its first image."""
    return next((name for name in files_of(case) if name in str(error)), case.images[0])


def assemble(dataset: Dataset, records: Sequence[CaseRecord]) -> Fingerprint:
    """The fingerprint of the cases that could be measured, turned into the orientation most of them have."""
    wanted = common_orientation(
        [record.measurement.shape.orientation for record in records if record.measurement is not None]
    )
    cases = tuple(_turned(record, wanted) for record in records if record.measurement is not None)
    intensities = [
        record.measurement.intensities
        for record in records
        if record.measurement is not None and record.measurement.intensities is not None
    ]
    return Fingerprint(
        dataset=dataset.name,
        channels=dataset.channels,
        orientation=wanted,
        cases=cases,
        intensities=mix(intensities) if intensities else (),
        median_relative_size=median(case.relative_size for case in cases) if cases else 1.0,
        made_from={"dataset": digest(dataset)},
    )


def common_orientation(orientations: Sequence[str | None]) -> str | None:
    """The orientation most cases have (of equals the first in the alphabet); None where any case has none."""
    codes = [code for code in orientations if code is not None]
    if not codes or len(codes) < len(orientations):
        return None
    times = Counter(codes)
    return min(times, key=lambda code: (-times[code], code))


def _turned(record: CaseRecord, wanted: str | None) -> CaseFingerprint:
    assert record.measurement is not None
    case = record.measurement.shape
    current = case.orientation
    shape, cropped, spacing = case.shape, case.shape_after_crop, case.spacing_mm
    if wanted is not None and current is not None and current != wanted:
        spacing = reorient_spacing(spacing, current=current, wanted=wanted)
        shape = reorient_shape(shape, current=current, wanted=wanted)
        cropped = reorient_shape(cropped, current=current, wanted=wanted)
    return CaseFingerprint(
        id=record.id,
        shape=shape,
        shape_after_crop=cropped,
        spacing_mm=spacing,
        orientation=current,
        relative_size=case.relative_size,
        label_voxels=case.label_voxels,
        files=record.files,
    )


def reorient_shape(shape: tuple[int, int, int], *, current: str, wanted: str) -> tuple[int, int, int]:
    """The shape (z, y, x) of an image after `reorient`."""
    z, y, x = (int(n) for n in reorient_spacing(shape, current=current, wanted=wanted))
    return z, y, x


def verify_unchanged(dataset: Dataset, fingerprint: Fingerprint) -> None:
    """Raise StaleError, naming the files and the command that remakes, when data have changed since the fingerprint."""
    remake = f"autoseg_plan {dataset.root}"
    if fingerprint.made_from.get("dataset") != digest(dataset):
        raise StaleError(
            f"{dataset.name}: the fingerprint was made from another list of cases. Make it anew with: {remake}"
        )
    changed = [
        name
        for case in fingerprint.cases
        for name, known in case.files.items()
        if not is_unchanged(dataset.folder / name, known)
    ]
    if changed:
        raise StaleError(
            f"{dataset.name}: {number_of(len(changed), 'file')} changed since the data set was planned: {listed(changed)}. "
            f"Make the plan anew with: {remake}"
        )
