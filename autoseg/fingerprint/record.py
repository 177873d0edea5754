"""Measurements of single cases on disk, so that a case is read again only when its files have changed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from autoseg.artefacts import FROZEN, save, written_whole
from autoseg.data.check import Problem
from autoseg.data.dataset import Case, Dataset
from autoseg.fingerprint.case import CaseShape, Measurement
from autoseg.fingerprint.stamps import FileStamp, is_unchanged
from autoseg.fingerprint.statistics import SUMMARY_VALUES, IntensitySummary

RECORD_FORMAT = 1


class Moments(BaseModel):
    """Mean, variance and extremes of the foreground of each channel."""

    model_config = FROZEN
    mean: tuple[float, ...]
    variance: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]


class StoredCase(BaseModel):
    """What is kept of a case as JSON; the table of quantiles lies beside it as .npy.

    `meaning` is the digest of the channels and labels it was measured with; `shape` is None where problems kept the case
    from being measured.
    """

    model_config = FROZEN
    format: int = RECORD_FORMAT
    id: str
    meaning: str
    files: dict[str, FileStamp]
    shape: CaseShape | None
    moments: Moments | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, eq=False)
class CaseRecord:
    """A case as measured, with the stamps of its files and its problems."""

    id: str
    files: dict[str, FileStamp]
    measurement: Measurement | None
    problems: tuple[Problem, ...]


def meaning_of(dataset: Dataset) -> str:
    """The digest of everything but files that measurements depend on: channels and labels."""
    text = dataset.labels.model_dump_json() + "\0".join(dataset.channels)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def files_of(case: Case) -> tuple[str, ...]:
    """All files of a case, as they stand in the data set."""
    return case.images if case.label is None else (*case.images, case.label)


def write_record(cache: Path, record: CaseRecord, *, meaning: str) -> None:
    """Keep `record` in the folder `cache`."""
    measured = record.measurement
    found = measured.intensities if measured is not None else None
    moments = None
    if found is not None:
        lists = {name: tuple(getattr(found, name).tolist()) for name in ("mean", "variance", "lowest", "highest")}
        moments = Moments(**lists)
        with written_whole(_table_file(cache, record.id)) as file:
            np.save(file, found.table, allow_pickle=False)
    stored = StoredCase(
        id=record.id,
        meaning=meaning,
        files=record.files,
        shape=measured.shape if measured is not None else None,
        moments=moments,
        problems=record.problems,
    )
    save(stored, _json_file(cache, record.id))


def find_record(cache: Path, case: Case, *, root: Path, meaning: str) -> CaseRecord | None:
    """The record of a case whose files, channels and labels are what they were; None where there is none."""
    try:
        stored = StoredCase.model_validate_json(_json_file(cache, case.id).read_bytes())
        if stored.format != RECORD_FORMAT or stored.id != case.id or stored.meaning != meaning:
            return None
        if set(stored.files) != set(files_of(case)):
            return None
        if not all(is_unchanged(root / name, known) for name, known in stored.files.items()):
            return None
        return CaseRecord(id=case.id, files=stored.files, measurement=_measurement(cache, stored), problems=stored.problems)
    # A cache that is damaged or of an older format is no loss: the case is read again.
    except (OSError, ValueError, ValidationError):
        return None


def _measurement(cache: Path, stored: StoredCase) -> Measurement | None:
    if stored.shape is None:
        return None
    if stored.moments is None:
        return Measurement(shape=stored.shape, intensities=None)
    table = np.load(_table_file(cache, stored.id), allow_pickle=False)
    mean, variance, lowest, highest = (
        np.array(getattr(stored.moments, name), dtype=np.float64) for name in ("mean", "variance", "lowest", "highest")
    )
    if table.shape != (len(mean), SUMMARY_VALUES) or table.dtype != np.float32:
        raise ValueError("a table of another version")
    summary = IntensitySummary(mean=mean, variance=variance, lowest=lowest, highest=highest, table=table)
    return Measurement(shape=stored.shape, intensities=summary)


def _json_file(cache: Path, case_id: str) -> Path:
    return cache / f"{_file_name(case_id)}.json"


def _table_file(cache: Path, case_id: str) -> Path:
    return cache / f"{_file_name(case_id)}.npy"


def _file_name(case_id: str) -> str:
    # Ids may hold characters that file names cannot.
    return hashlib.sha256(case_id.encode()).hexdigest()[:20]
