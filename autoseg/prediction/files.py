"""Names of the files that predictions leave behind; whoever shows or reads them asks here."""

from collections.abc import Collection
from pathlib import Path

UNCERTAINTY_FILE = "uncertainty.csv"
"""How sure the prediction of each structure of each case is."""
PROBABILITIES = "probabilities"
ENTROPY = "entropy"
VARIANCE = "variance"
MAPS = (PROBABILITIES, ENTROPY, VARIANCE)
"""What is written voxel by voxel beside the label map of a case."""


def map_file(folder: Path, case_id: str, kind: str) -> Path:
    """Where a map (one of MAPS) of a case lies: `case_07_entropy.nii.gz`."""
    return folder / f"{case_id}_{kind}.nii.gz"


def is_map(stem: str, stems: Collection[str]) -> bool:
    """Whether a file of this name (without its ending) is a map of a case that has a label map among `stems`."""
    return any(stem.endswith(f"_{kind}") and stem.removesuffix(f"_{kind}") in stems for kind in MAPS)
