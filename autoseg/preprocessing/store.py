"""Preprocessed cases on disk: memory-mapped arrays, of which training reads no more than it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from autoseg.artefacts import FROZEN, flush_files, load, save, written_whole
from autoseg.data.labels import LabelScheme
from autoseg.errors import ArtefactError
from autoseg.preprocessing.case import Placement, Prepared

STORE_FORMAT = 2
REMAKE = "autoseg_preprocess CONFIGURATION"

LOCATIONS_AT_MOST = 10_000
"""Foreground voxels kept per output, or one in a hundred where that is more."""
LOCATIONS_SEED = 1234


class CaseRecord(BaseModel):
    """What is stored of one case. Written last: where it is, the arrays are whole.

    `made_from` is the digest of the files and settings it was made from. `locations` counts the stored voxels of each
    output, `annotated` those of all annotated voxels (0 unless the data set has an ignore label). `sizes` gives the bytes
    of each array's file.
    """

    model_config = FROZEN
    format: int
    id: str
    made_from: str
    placement: Placement
    locations: tuple[int, ...]
    annotated: int
    sizes: dict[str, int]


@dataclass(frozen=True, eq=False)
class StoredCase:
    """A preprocessed case; the arrays are read from disk where they are indexed.

    `image` (channel, z, y, x) is float16, or float32 where a value would not fit; `classes` (z, y, x) int8 or int16.
    `locations` maps the index of each foreground output that occurs (see `LabelScheme.output_names`) to voxels (n, 3) of
    it; `annotated` holds voxels (n, 3) that are not ignored, None without an ignore label. `previous` (z, y, x) are the
    classes that the previous stage of a cascade found, None where there is none.
    """

    id: str
    image: NDArray[np.floating]
    classes: NDArray[np.signedinteger]
    locations: dict[int, NDArray[np.int32]]
    annotated: NDArray[np.int32] | None
    placement: Placement
    previous: NDArray[np.signedinteger] | None = None


def save_case(folder: Path, case_id: str, prepared: Prepared, *, labels: LabelScheme, made_from: str) -> CaseRecord:
    """Store a case that has classes in `folder`; a half-written one is never taken for whole."""
    assert prepared.classes is not None, "training cases have labels"
    record_file(folder, case_id).unlink(missing_ok=True)
    found = output_locations(prepared.classes, labels)
    annotated = _annotated_locations(prepared.classes, labels)
    arrays = {
        "image": _compact_image(prepared.image),
        "classes": prepared.classes.astype(np.int8 if len(labels.labels) < np.iinfo(np.int8).max else np.int16),
        "locations": np.concatenate([*found, annotated]),
    }
    sizes = {name: _write(_array_file(folder, case_id, name), array) for name, array in arrays.items()}
    flush_files([_array_file(folder, case_id, name) for name in arrays])
    record = CaseRecord(
        format=STORE_FORMAT,
        id=case_id,
        made_from=made_from,
        placement=prepared.placement,
        locations=tuple(len(voxels) for voxels in found),
        annotated=len(annotated),
        sizes=sizes,
    )
    # A case whose record is lost with the power is made anew; one whose arrays are lost must not look whole.
    save(record, record_file(folder, case_id), flushed=False)
    return record


def open_case(folder: Path, case_id: str) -> StoredCase:
    """The case stored in `folder`, its image and classes memory-mapped.

    Raises ArtefactError when a file is missing or not as long as it was written.
    """
    record = load(CaseRecord, record_file(folder, case_id), remake=REMAKE)
    locations = _open_array(folder, record, "locations", mapped=False)
    ends = np.cumsum(record.locations)
    per_output = np.split(locations, ends)
    return StoredCase(
        id=case_id,
        image=_open_array(folder, record, "image", mapped=True),
        classes=_open_array(folder, record, "classes", mapped=True),
        locations={index: voxels for index, voxels in enumerate(per_output[:-1]) if len(voxels)},
        annotated=per_output[-1] if record.annotated else None,
        placement=record.placement,
    )


def is_stored(folder: Path, case_id: str, *, made_from: str) -> bool:
    """Whether `folder` holds the whole case, made from just that."""
    file = record_file(folder, case_id)
    if not file.is_file():
        return False
    try:
        record = load(CaseRecord, file, remake=REMAKE)
    except ArtefactError:
        return False
    files = {name: _array_file(folder, case_id, name) for name in record.sizes}
    whole = all(path.is_file() and path.stat().st_size == record.sizes[name] for name, path in files.items())
    return whole and record.format == STORE_FORMAT and record.made_from == made_from


def record_file(folder: Path, case_id: str) -> Path:
    """The JSON file of a case."""
    return folder / "cases" / f"{case_id}.json"


def output_locations(classes: NDArray[np.signedinteger], labels: LabelScheme) -> list[NDArray[np.int32]]:
    """For each foreground output (region or label): at most max(10 000, 1 %) of its voxels (n, 3), none twice.

    A fixed seed chooses them, so a case is stored the same way each time.
    """
    rng = np.random.default_rng(LOCATIONS_SEED)
    foreground = np.flatnonzero(classes > 0)
    values = classes.reshape(-1)[foreground]
    return [_chosen(foreground[np.isin(values, members)], classes.shape, rng) for members in _members(labels)]


def _members(labels: LabelScheme) -> Sequence[tuple[int, ...]]:
    if labels.target == "regions":
        return [labels.classes_of(region) for region in labels.regions]
    return [(index,) for index in range(1, len(labels.labels))]


def _annotated_locations(classes: NDArray[np.signedinteger], labels: LabelScheme) -> NDArray[np.int32]:
    if labels.ignore_class is None:
        return np.empty((0, 3), dtype=np.int32)
    rng = np.random.default_rng(LOCATIONS_SEED)
    return _chosen(np.flatnonzero(classes != labels.ignore_class), classes.shape, rng)


def _chosen(flat: NDArray[np.intp], shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int32]:
    count = max(min(LOCATIONS_AT_MOST, len(flat)), -(-len(flat) // 100))
    flat = rng.choice(flat, count, replace=False, shuffle=False) if count < len(flat) else flat
    return np.stack(np.unravel_index(flat, shape), axis=1).astype(np.int32)


def _compact_image(image: NDArray[np.float32]) -> NDArray[np.floating]:
    """Half precision where every value fits; training on normalised intensities does not see the difference."""
    largest = max(abs(float(image.min())), abs(float(image.max())))
    return image.astype(np.float16) if largest <= float(np.finfo(np.float16).max) else image


def _write(path: Path, array: NDArray[np.generic]) -> int:
    with written_whole(path, flushed=False) as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    return path.stat().st_size


def _array_file(folder: Path, case_id: str, name: str) -> Path:
    return folder / "cases" / f"{case_id}.{name}.npy"


def _open_array(folder: Path, record: CaseRecord, name: str, *, mapped: bool) -> NDArray[Any]:
    path = _array_file(folder, record.id, name)
    found = path.stat().st_size if path.is_file() else None
    if found != record.sizes[name]:
        state = "is missing" if found is None else f"has {found} bytes"
        raise ArtefactError(f"case {record.id}: {path} {state}, expected {record.sizes[name]}. Make it anew with: {REMAKE}")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtefactError(f"case {record.id}: {path} cannot be read ({error}). Make it anew with: {REMAKE}") from error
    return array
