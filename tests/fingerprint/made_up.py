"""Small data sets on disk whose fingerprint can be worked out by hand."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoseg.data.dataset import Case, Dataset
from autoseg.data.image import Geometry
from autoseg.data.labels import Label, LabelScheme
from autoseg.data.readers import write_image, write_labels

SCHEME = LabelScheme(labels=(Label(name="background", value=0), Label(name="organ", value=1)))


def geometry(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float] = (3.0, 2.0, 1.0)) -> Geometry:
    """RAS axes, voxels of `spacing_mm` (z, y, x)."""
    z, y, x = spacing_mm
    return Geometry(shape=shape, spacing_mm=spacing_mm, affine=np.diag([x, y, z, 1.0]))


def ramp(shape: tuple[int, int, int] = (4, 6, 8)) -> NDArray[np.int16]:
    """1, 2, 3, ... inside a border of zeros one voxel wide."""
    voxels = np.zeros(shape, dtype=np.int16)
    inner = voxels[1:-1, 1:-1, 1:-1]
    inner[...] = np.arange(1, inner.size + 1).reshape(inner.shape)
    return voxels


def write_case(
    root: Path, case_id: str, *, image: NDArray[np.generic], labels: NDArray[np.integer], grid: Geometry | None = None
) -> Case:
    """Write one case with one channel."""
    grid = grid or geometry(labels.shape)
    write_image(root / "images" / f"{case_id}.nii.gz", image[None], grid)
    write_labels(root / "labels" / f"{case_id}.nii.gz", labels, grid)
    return Case(id=case_id, images=(f"images/{case_id}.nii.gz",), label=f"labels/{case_id}.nii.gz")


def dataset(root: Path, cases: list[Case], *, channels: tuple[str, ...] = ("MRI",)) -> Dataset:
    """A data set of these cases."""
    return Dataset(
        name="MadeUp",
        root=str(root),
        layout="list",
        template=None,
        channels=channels,
        labels=SCHEME,
        cases=tuple(cases),
    )


def ramp_dataset(root: Path, *, cases: int = 3) -> Dataset:
    """Ramps with the organ in the voxels above 10."""
    made = [write_case(root, f"case_{i}", image=ramp(), labels=(ramp() > 10).astype(np.uint8)) for i in range(cases)]
    return dataset(root, made)
