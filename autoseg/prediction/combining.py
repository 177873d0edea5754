"""The mean of the probabilities that earlier runs have saved, and the label maps that it speaks for."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from autoseg.artefacts import refuse_unwritable, save
from autoseg.data.dataset import Case
from autoseg.data.formats.nifti import VoxelStream
from autoseg.data.image import Geometry, compare_grids
from autoseg.data.labels import LabelScheme
from autoseg.data.readers import read_header, voxel_stream, write_labels
from autoseg.errors import AutosegError, PredictionError
from autoseg.prediction.agreeing import ONE, agreed
from autoseg.prediction.case_job import failed
from autoseg.prediction.combined import (
    ENSEMBLE_FILE,
    EnsembleReport,
    Source,
    case_ids,
    earlier_cases,
    empty_report,
    open_sources,
)
from autoseg.prediction.map_files import is_whole
from autoseg.prediction.maps import LEVELS
from autoseg.prediction.postprocessing import Rule, corrected, values_of
from autoseg.prediction.report import CasePrediction
from autoseg.prediction.volumes import volumes_ml
from autoseg.progress import SILENT, Progress

VOXELS_AT_A_TIME = 2**21


def combine(
    folders: Sequence[Path | str],
    output: Path | str,
    *,
    weights: Sequence[float] | None = None,
    rules: Sequence[Rule] = (),
    skip_existing: bool = False,
    progress: Progress = SILENT,
    on_case: Callable[[CasePrediction], None] | None = None,
) -> EnsembleReport:
    """Average the probabilities in `folders` (of `autoseg_predict --probabilities`) and write label maps to `output`.

    `weights` are one for each folder. Neither the label maps nor the digest of the ensemble depend, in any bit, on the
    order of the folders. `rules` correct the label maps. One case after the other is streamed: memory holds about ten bytes
    a voxel, whatever the number of classes and members. A case that is not in all folders, or that cannot be averaged, is
    noted in the report and does not stop the others. With `skip_existing` those are left whose label maps are whole and
    come from the same members. The report is also written to `output`/ensemble.json.

    Raises PredictionError where folders hold different classes, where none of their cases is in all of them, and for
    weights that do not fit; UnknownNameError for a rule about something else.
    """
    start, output = time.monotonic(), Path(output)
    sources = open_sources(folders, weights, output=output)
    labels = sources[0].report.labels
    for rule in rules:
        values_of(rule.structure, labels)
    ids = case_ids(sources)
    report = empty_report(sources, rules)
    refuse_unwritable(output, remedy="Choose another folder with -o DIR.")
    known = earlier_cases(output, report) if skip_existing else {}
    done: dict[str, CasePrediction] = {}
    for id_ in progress.track(ids, description="averaging", total=len(ids)):
        before = known.get(id_)
        if before is not None and is_whole(before, output):
            done[id_] = before.model_copy(update={"skipped": True})
        else:
            done[id_] = _combined(id_, sources, output, rules)
        if on_case is not None:
            on_case(done[id_])
        seconds = round(time.monotonic() - start, 3)
        report = report.model_copy(update={"cases": tuple(done.values()), "seconds": seconds})
        save(report, output / ENSEMBLE_FILE)
    return report


def _combined(id_: str, sources: Sequence[Source], output: Path, rules: Sequence[Rule]) -> CasePrediction:
    """The label map of a case, written, and its report; or the failure to report."""
    start = time.monotonic()
    try:
        labels = sources[0].report.labels
        values, geometry = _label_map(id_, sources, labels)
        middle = time.monotonic()
        values = corrected(values, rules, scheme=labels, spacing_mm=geometry.spacing_mm)
        name = sources[0].label_file(id_).name
        write_labels(output / name, values, geometry)
    except (AutosegError, MemoryError) as error:
        return failed(Case(id=id_, images=()), error)
    seconds = {"average": round(middle - start, 3), "write": round(time.monotonic() - middle, 3)}
    volumes = volumes_ml(values, labels, geometry)
    return CasePrediction(
        id=id_,
        file=name,
        probabilities=None,
        skipped=False,
        seconds=seconds,
        volumes_ml=volumes,
        way=None,
        error=None,
    )


def _label_map(id_: str, sources: Sequence[Source], labels: LabelScheme) -> tuple[NDArray[np.integer], Geometry]:
    """The on-disk values (z, y, x) that the mean probabilities of a case speak for, and their grid."""
    files = [source.probability_file(id_) for source in sources]
    with ExitStack() as stack:
        streams = [stack.enter_context(voxel_stream(file)) for file in files]
        for file, stream in zip(files, streams, strict=True):
            _refuse_other_content(file, stream, labels)
            _refuse_other_grid(files[0], streams[0], file, stream)
        classes = _classes(streams, [source.share for source in sources], labels)
    shape = streams[0].header.geometry.shape
    # The label map's own header: that of a two-dimensional file with several volumes is another.
    geometry = read_header(sources[0].label_file(id_)).geometry
    return labels.decode(classes.reshape(shape)), geometry


def _classes(streams: Sequence[VoxelStream], shares: Sequence[float], labels: LabelScheme) -> NDArray[np.integer]:
    """The classes (voxel) of the mean; files hold one channel after the other, so the best one so far is kept."""
    count = int(np.prod(streams[0].header.geometry.shape))
    if labels.target == "regions":
        return _painted(streams, shares, labels, count)
    best = torch.full((count,), -1, dtype=torch.int32)
    classes = torch.zeros(count, dtype=torch.int16)
    for channel in range(labels.output_channels):
        for part in _parts(count):
            mean = _mean(streams, shares, part)
            is_better = mean > best[part]
            classes[part].masked_fill_(is_better, channel)
            best[part] = torch.maximum(best[part], mean)
    return classes.numpy()


def _painted(
    streams: Sequence[VoxelStream], shares: Sequence[float], labels: LabelScheme, count: int
) -> NDArray[np.integer]:
    """The classes (voxel) of regions that are more likely than not."""
    masks = np.zeros((labels.output_channels, -(-count // 8)), dtype=np.uint8)  # a bit for each voxel
    for region in range(labels.output_channels):
        for part in _parts(count):
            inside = _mean(streams, shares, part) > ONE // 2
            masks[region, part.start // 8 : -(-part.stop // 8)] = np.packbits(inside.numpy())
    classes = np.empty(count, dtype=np.int16)
    for part in _parts(count):
        bits = masks[:, part.start // 8 : -(-part.stop // 8)]
        classes[part] = labels.paint(np.unpackbits(bits, axis=1, count=part.stop - part.start).astype(bool))
    return classes


def _parts(count: int) -> list[slice]:
    return [slice(start, min(start + VOXELS_AT_A_TIME, count)) for start in range(0, count, VOXELS_AT_A_TIME)]


def _mean(streams: Sequence[VoxelStream], shares: Sequence[float], part: slice) -> torch.Tensor:
    """The mean of the next voxels of all members, as whole numbers; see `agreed`."""
    codes = [stream.take(part.stop - part.start).astype(np.float32) for stream in streams]
    return agreed([torch.from_numpy(one) / LEVELS for one in codes], shares)


def _refuse_other_content(file: Path, stream: VoxelStream, labels: LabelScheme) -> None:
    channels, wanted = stream.header.channels, labels.output_channels
    if channels != wanted or stream.kind != np.uint16 or abs(stream.slope * LEVELS - 1) > 1e-3:
        raise PredictionError(
            f"{file}: found {channels} volumes of {stream.kind.name} with a slope of {stream.slope:.3g}; expected {wanted} "
            f"of uint16 with 1/{LEVELS}, as autoseg_predict --probabilities writes them. Predict the case again."
        )


def _refuse_other_grid(first: Path, expected: VoxelStream, file: Path, stream: VoxelStream) -> None:
    for mismatch in compare_grids(expected.header.geometry, stream.header.geometry):
        if not mismatch.is_drift:
            raise PredictionError(
                f"{mismatch.field} of {file} is {mismatch.second}, but that of {first} is {mismatch.first}. Only "
                "predictions of the same image can be averaged."
            )
