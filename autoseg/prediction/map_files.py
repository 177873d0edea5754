"""Maps of a case as NIfTI files on the grid of its image, and whether files that are there are whole."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autoseg.data.image import Geometry
from autoseg.data.labels import LabelScheme
from autoseg.data.readers import read_labels, voxel_stream, write_codes
from autoseg.errors import AutosegError
from autoseg.prediction.beside import Beside
from autoseg.prediction.files import ENTROPY, PROBABILITIES, VARIANCE, map_file
from autoseg.prediction.maps import Maps
from autoseg.prediction.report import CasePrediction
from autoseg.prediction.uncertainty import LARGEST_VARIANCE, largest_entropy

_AT_A_TIME = 2**22


def write_maps(maps: Maps, folder: Path, case_id: str, *, labels: LabelScheme, geometry: Geometry) -> dict[str, str]:
    """Write what there is of the maps of a case; the name of each file, by the kind of map."""
    volumes = {
        PROBABILITIES: (maps.probabilities, 1.0),
        ENTROPY: (maps.entropy, largest_entropy(labels)),
        VARIANCE: (maps.variance, LARGEST_VARIANCE),
    }
    written = {}
    for kind, (codes, largest) in volumes.items():
        if codes is not None:
            path = map_file(folder, case_id, kind)
            write_codes(path, codes if codes.ndim == 4 else np.asarray(codes)[None], geometry, largest=largest)
            written[kind] = path.name
    return written


def wanted_kinds(beside: Beside, *, has_variance: bool) -> list[str]:
    """The kinds of maps that a case is to have."""
    kinds = [PROBABILITIES] if beside.probabilities else []
    if beside.uncertainty:
        kinds += [ENTROPY, VARIANCE] if has_variance else [ENTROPY]
    return kinds


def is_whole(case: CasePrediction, folder: Path, kinds: Sequence[str] = ()) -> bool:
    """Whether the label map of a case and its maps of these `kinds` are there and can be read to their ends."""
    names = {PROBABILITIES: case.probabilities, ENTROPY: case.entropy, VARIANCE: case.variance}
    maps = [names[kind] for kind in kinds]
    if case.file is None or None in maps:
        return False
    try:
        read_labels(folder / case.file)
        for name in maps:
            _read_to_the_end(folder / str(name))
    except (AutosegError, OSError, ValueError):
        return False
    return True


def _read_to_the_end(path: Path) -> None:
    with voxel_stream(path) as stream:
        while stream.left:
            stream.take(min(_AT_A_TIME, stream.left))
