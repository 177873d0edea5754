"""A made-up data set in the layout of the Medical Segmentation Decathlon, the same for the same seed."""

import json
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from autoseg.artefacts import written_whole
from autoseg.csv_table import write_csv
from autoseg.data.image import Geometry, Shape
from autoseg.data.phantom_anatomy import (
    EDEMA,
    ENHANCING,
    FIELD_OF_VIEW_MM,
    NECROTIC,
    SEQUENCES,
    Head,
    draw_head,
    draw_scan,
)
from autoseg.data.readers import write_image, write_labels
from autoseg.errors import DatasetError, number_of
from autoseg.parallel import map_cases
from autoseg.progress import SILENT, Progress

NAME = "Task01_Phantom"
CASES = 26
SHAPE: Shape = (40, 64, 64)
"""Voxels (z, y, x) of 3.9 x 3.75 x 3.75 mm, about the coarsest that leave an enhancing rim whole."""
SURVIVAL_FILE = "survival.csv"
SMALLEST_EDGE = 24
"""Voxels along each axis below which tumour parts vanish between voxels."""
HELD_OUT_EVERY = 4
"""Every so many-th case is a test case, so that a case stays on its side however many there are."""


@dataclass(frozen=True)
class Survival:
    """A row of the survival table; the columns are those of BraTS."""

    id: str
    Age: float
    Survival_days: int
    Extent_of_Resection: Literal["GTR", "STR", "NA"]


def write_phantom(
    folder: Path,
    *,
    cases: int = CASES,
    shape: Shape = SHAPE,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Write a BraTS-like data set of made-up heads to `folder`/Task01_Phantom and return its path.

    `shape` is (z, y, x); all heads fill the same 155 x 240 x 240 mm, so fewer voxels are larger ones. Every fourth case is
    a test case, whose labels lie in labelsTs. Case i depends only on `seed`, `shape` and i, not on the number of cases.
    Nothing is done when that very data set is there already; one case is in memory per worker.

    Raises DatasetError for too few cases or voxels, or when something else lies in the folder.
    """
    _refuse_tiny(cases=cases, shape=shape)
    target = folder / NAME
    description = _description(cases=cases, shape=shape, seed=seed)
    if _is_written(target, description):
        return target
    rows = map_cases(
        partial(_write_case, folder=target, shape=shape, seed=seed),
        range(cases),
        name=case_id,
        stage="write phantom",
        workers=workers,
        progress=progress,
    )
    _write_survival(rows, target / SURVIVAL_FILE)
    with written_whole(target / "dataset.json") as file:  # last: it says that the rest is complete
        file.write((json.dumps(description, indent=1) + "\n").encode())
    return target


def case_id(index: int) -> str:
    """The name of case `index`, counted from 0."""
    # Four digits at the end would be read as the number of a channel, as nnU-Net names its files.
    return f"PHANTOM_{index + 1:05d}"


def is_held_out(index: int) -> bool:
    """Whether case `index` is a test case."""
    return index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1


def draw_survival(head: Head, rng: np.random.Generator, *, name: str) -> Survival:
    """Age, resection and days of survival of the patient with this head.

    The law: 480 days, times exp(-0.025 (age - 60)), times (core volume / 30 ml)^-0.3, times 1.35 after gross total
    resection (GTR), times a log-normal factor of deviation 0.25 for all that nobody knows.
    """
    age = float(np.clip(rng.normal(60, 12), 19, 87))
    resection: Literal["GTR", "STR", "NA"] = ("GTR", "STR", "NA")[int(rng.choice(3, p=(0.5, 0.2, 0.3)))]
    core_ml = np.isin(head.labels, (NECROTIC, ENHANCING)).sum() * np.prod(_spacing(head.shape)) / 1000
    days = 480 * np.exp(-0.025 * (age - 60)) * (max(core_ml, 1) / 30) ** -0.3 * np.exp(rng.normal(0, 0.25))
    days *= 1.35 if resection == "GTR" else 1
    return Survival(id=name, Age=round(age, 3), Survival_days=max(int(days), 5), Extent_of_Resection=resection)


def _write_case(index: int, *, folder: Path, shape: Shape, seed: int) -> Survival:
    """Write image and label of one case and return its row of the survival table."""
    anatomy, patient, scanner = np.random.default_rng([seed, index]).spawn(3)
    head = draw_head(shape, anatomy)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[head.box] = head.labels
    geometry = _geometry(shape)
    part = "Ts" if is_held_out(index) else "Tr"
    write_labels(folder / f"labels{part}" / f"{case_id(index)}.nii.gz", labels, geometry)
    write_image(folder / f"images{part}" / f"{case_id(index)}.nii.gz", draw_scan(head, scanner), geometry)
    return draw_survival(head, patient, name=case_id(index))


def _spacing(shape: Shape) -> tuple[float, float, float]:
    z, y, x = (extent / size for extent, size in zip(FIELD_OF_VIEW_MM, shape, strict=True))
    return z, y, x


def _geometry(shape: Shape) -> Geometry:
    """Axes as BraTS stores them: x to the left, y to the back, z up; the origin lies in the corner."""
    z, y, x = _spacing(shape)
    affine = np.diag([-x, -y, z, 1.0])
    affine[:2, 3] = 0, FIELD_OF_VIEW_MM[1] - y
    return Geometry(shape, (z, y, x), affine)


def _description(*, cases: int, shape: Shape, seed: int) -> dict[str, object]:
    """What dataset.json of the Decathlon says about a data set."""
    train = [case_id(index) for index in range(cases) if not is_held_out(index)]
    test = [case_id(index) for index in range(cases) if is_held_out(index)]
    z, y, x = shape
    return {
        "name": "Phantom",
        "description": f"Made-up heads with tumours: {cases} cases of {x} x {y} x {z} voxels, seed {seed}",
        "reference": "autoseg",
        "licence": "CC0",
        "release": "1.0",
        "tensorImageSize": "4D",
        "modality": {str(index): name for index, name in enumerate(SEQUENCES)},
        "labels": {"0": "background", str(NECROTIC): "necrotic", str(EDEMA): "edema", str(ENHANCING): "enhancing"},
        "numTraining": len(train),
        "numTest": len(test),
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in train],
        "test": [f"./imagesTs/{name}.nii.gz" for name in test],
    }


def _refuse_tiny(*, cases: int, shape: Shape) -> None:
    if cases < 2:
        raise DatasetError(f"a phantom of {number_of(cases, 'case')} was asked for; expected at least 2.")
    if min(shape) < SMALLEST_EDGE:
        z, y, x = shape
        raise DatasetError(
            f"a phantom of {x} x {y} x {z} voxels was asked for; expected at least {SMALLEST_EDGE} each way."
        )


def _is_written(target: Path, description: dict[str, object]) -> bool:
    """Whether that very phantom lies at `target`; raises DatasetError when something else does."""
    file = target / "dataset.json"
    if not file.exists():
        return False
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found == description:
        return True
    raise DatasetError(f"{target} holds another data set. Remove it, or name another folder with --output.")


def _write_survival(rows: list[Survival], path: Path) -> None:
    write_csv(path, [field.name for field in fields(Survival)], map(astuple, rows))
