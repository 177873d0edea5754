"""The headers of all files of a data set, read at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from autoseg.data.dataset import Case, Dataset
from autoseg.data.formats.header import Header
from autoseg.data.readers import read_header
from autoseg.errors import ImageError
from autoseg.progress import SILENT, Progress

NOTHING = "nothing"
"""What stands for the header of a file that is not there."""

_READING_THREADS = 8  # headers are small: reading them is waiting for the disk


@dataclass(frozen=True, eq=False)
class CaseHeaders:
    """The headers of a case's files in order; where one cannot be read, the reason as text."""

    case: Case
    images: tuple[Header | str, ...]
    label: Header | str | None


def read_headers(dataset: Dataset, *, progress: Progress = SILENT) -> list[CaseHeaders]:
    """The headers of all training cases, in order, without reading voxels."""
    with ThreadPoolExecutor(_READING_THREADS) as pool:
        read = pool.map(lambda case: _read_case_headers(case, dataset.folder), dataset.cases)
        return list(progress.track(read, description="reading headers", total=len(dataset.cases)))


def _read_case_headers(case: Case, root: Path) -> CaseHeaders:
    label = case.label_path(root)
    images = tuple(_read_or_reason(path) for path in case.image_paths(root))
    return CaseHeaders(case, images, None if label is None else _read_or_reason(label))


def _read_or_reason(path: Path) -> Header | str:
    if not path.exists():
        return NOTHING
    try:
        return read_header(path)
    except ImageError as error:
        return str(error)
