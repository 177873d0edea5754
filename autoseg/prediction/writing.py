"""What was found in a case, corrected and written: its label map, and the maps beside it."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from autoseg.data.image import Geometry
from autoseg.data.labels import LabelScheme
from autoseg.data.readers import write_labels
from autoseg.prediction.files import ENTROPY, PROBABILITIES, VARIANCE
from autoseg.prediction.map_files import write_maps
from autoseg.prediction.postprocessing import Rule, corrected
from autoseg.prediction.predictor import Prediction
from autoseg.prediction.report import CasePrediction
from autoseg.prediction.uncertainty import described
from autoseg.prediction.volumes import volumes_ml


def write_case(
    case_id: str,
    file: Path,
    found: Prediction,
    geometry: Geometry,
    *,
    scheme: LabelScheme,
    rules: Sequence[Rule] = (),
    seconds: Mapping[str, float] | None = None,
    absent: tuple[str, ...] = (),
) -> CasePrediction:
    """Write the label map, corrected by `rules`, to `file` and the maps beside it; the report of the case.

    `seconds` are of what was done before `found` was made.
    """
    start = time.monotonic()
    labels = corrected(found.labels, rules, scheme=scheme, spacing_mm=geometry.spacing_mm)
    write_labels(file, labels, geometry)
    maps = write_maps(found.maps, file.parent, case_id, labels=scheme, geometry=geometry)
    sure = None
    if found.tally is not None and found.maps.entropy is not None:
        sure = described(found.tally, labels, found.maps.entropy, labels=scheme, geometry=geometry)
    taken = {**(seconds or {}), **found.seconds, "write": time.monotonic() - start}
    return CasePrediction(
        id=case_id,
        file=file.name,
        probabilities=maps.get(PROBABILITIES),
        entropy=maps.get(ENTROPY),
        variance=maps.get(VARIANCE),
        uncertainty=sure,
        skipped=False,
        seconds={name: round(value, 3) for name, value in taken.items()},
        volumes_ml=volumes_ml(labels, scheme, geometry),
        way=found.way,
        absent=absent,
        error=None,
    )
