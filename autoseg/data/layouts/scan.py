"""Label values that nobody declared, read from the label maps themselves."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from autoseg.data.labels import Label, LabelScheme
from autoseg.data.readers import read_labels
from autoseg.errors import DatasetError

_MOST_VALUES = 256
_READING_THREADS = 4


def scan_labels(files: Sequence[Path]) -> LabelScheme:
    """The scheme of all values in the label maps `files`, each read once: 0 (or else the smallest) is the background.

    Raises DatasetError when there is only one value, or so many that the files can hardly be label maps; ImageError for
    a file that cannot be read.
    """
    with ThreadPoolExecutor(_READING_THREADS) as pool:
        values = sorted(set().union(*pool.map(_values, files)))
    if len(values) > _MOST_VALUES:
        raise DatasetError(
            f"{files[0].parent}: the label maps hold {len(values)} different values from {values[0]} to {values[-1]}; "
            "these look like images. Declare the labels in dataset.json, or name the folder of the masks."
        )
    if len(values) < 2:
        found = f"only the value {values[0]}" if values else "nothing"
        raise DatasetError(f"{files[0].parent}: the label maps hold {found}; expected a background and one label or more.")
    background = 0 if 0 in values else values[0]
    others = (Label(name=f"label_{value}", value=value) for value in values if value != background)
    return LabelScheme(labels=(Label(name="background", value=background), *others))


def _values(file: Path) -> set[int]:
    labels, _ = read_labels(file)
    return {int(value) for value in np.unique(labels)}
