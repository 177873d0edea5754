"""What the previous stage of a cascade found in each training case, as label maps beside the preprocessed cases."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from autoseg.artefacts import FROZEN, load, save, written_whole
from autoseg.data.image import Shape
from autoseg.errors import ArtefactError

MAP_FORMAT = 1
REMAKE = "autoseg_train CASCADE"


class MapRecord(BaseModel):
    """What is stored of one case. Written last: where it is, the map is whole.

    `made_from` is the digest of the network and the case that it was made from; `bytes` is the length of the map's file.
    """

    model_config = FROZEN
    format: int
    id: str
    made_from: str
    shape: Shape
    bytes: int


def save_map(folder: Path, case_id: str, classes: NDArray[np.integer], *, made_from: str) -> None:
    """Store a map of classes (z, y, x), none below 0, in `folder`."""
    _record_file(folder, case_id).unlink(missing_ok=True)
    small = classes.astype(np.int8 if classes.max(initial=0) <= np.iinfo(np.int8).max else np.int16)
    with written_whole(_map_file(folder, case_id)) as file:
        np.save(file, np.ascontiguousarray(small), allow_pickle=False)
    z, y, x = small.shape
    size = _map_file(folder, case_id).stat().st_size
    record = MapRecord(format=MAP_FORMAT, id=case_id, made_from=made_from, shape=(z, y, x), bytes=size)
    save(record, _record_file(folder, case_id))


def is_map_stored(folder: Path, case_id: str, *, made_from: str) -> bool:
    """Whether `folder` holds the whole map of a case, made from just that."""
    file, path = _record_file(folder, case_id), _map_file(folder, case_id)
    if not (file.is_file() and path.is_file()):
        return False
    try:
        record = load(MapRecord, file, remake=REMAKE)
    except ArtefactError:
        return False
    return (record.format, record.made_from, record.bytes) == (MAP_FORMAT, made_from, path.stat().st_size)


def open_map(folder: Path, case_id: str, *, shape: Shape) -> NDArray[Any]:
    """The map of a case (z, y, x), memory-mapped.

    Raises ArtefactError when it is missing, not as long as it was written, or not of the `shape` of the case.
    """
    record = load(MapRecord, _record_file(folder, case_id), remake=REMAKE)
    path = _map_file(folder, case_id)
    found = path.stat().st_size if path.is_file() else None
    if found != record.bytes:
        state = "is missing" if found is None else f"has {found} bytes"
        raise ArtefactError(f"case {case_id}: {path} {state}, expected {record.bytes}. Make it anew with: {REMAKE}")
    if record.shape != shape:
        raise ArtefactError(
            f"case {case_id}: {path} has the shape {record.shape}, its case {shape}. Make it anew with: {REMAKE}"
        )
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _record_file(folder: Path, case_id: str) -> Path:
    return folder / f"{case_id}.json"


def _map_file(folder: Path, case_id: str) -> Path:
    return folder / f"{case_id}.npy"
