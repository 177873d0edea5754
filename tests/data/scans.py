"""Small scans written with nibabel and SimpleITK directly, so that our own writers are not tested against themselves."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray

SHAPE = (3, 4, 5)


def write_nifti(path: Path, voxels: NDArray[Any], *, affine: NDArray[Any] | None = None) -> Path:
    """A NIfTI file from voxels (z, y, x) or (channel, z, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels.T, np.diag([1.5, 2.0, 3.0, 1.0]) if affine is None else affine)
    nibabel.save(image, path)
    return path


def write_picture(path: Path, pixels: NDArray[Any]) -> Path:
    """A picture from pixels (y, x) or (y, x, colour)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels, isVector=pixels.ndim == 3), str(path))
    return path


def a_scan(seed: int = 0, *, channels: int | None = None) -> NDArray[np.int16]:
    """Random voxels, never all equal."""
    shape = SHAPE if channels is None else (channels, *SHAPE)
    return np.random.default_rng(seed).integers(1, 1000, shape).astype(np.int16)


def a_label_map(values: Sequence[int] = (0, 1)) -> NDArray[np.int16]:
    """A label map in which the values follow one another."""
    return np.resize(np.array(values, dtype=np.int16), SHAPE)


def write_json(path: Path, content: object) -> Path:
    """`content` as JSON at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_decathlon(folder: Path, *, cases: int = 3, channels: int = 1, **changes: object) -> Path:
    """A folder as the Decathlon publishes it; `changes` replace keys of dataset.json, None removes one."""
    for index in range(cases):
        write_nifti(folder / f"imagesTr/case_{index}.nii.gz", a_scan(index, channels=channels if channels > 1 else None))
        write_nifti(folder / f"labelsTr/case_{index}.nii.gz", a_label_map())
    content: dict[str, object] = {
        "name": "Test",
        "reference": "A hospital",
        "licence": "CC0",
        "modality": {str(index): f"MR{index}" for index in range(channels)},
        "labels": {"0": "background", "1": "organ"},
        "training": [
            {"image": f"./imagesTr/case_{index}.nii.gz", "label": f"./labelsTr/case_{index}.nii.gz"}
            for index in range(cases)
        ],
        "test": [],
    }
    write_json(folder / "dataset.json", {key: value for key, value in (content | changes).items() if value is not None})
    return folder


def write_nnunet(folder: Path, *, cases: int = 2, channels: int = 2, ending: str = ".nii.gz", **changes: object) -> Path:
    """A raw folder of nnU-Net version 2."""
    for index in range(cases):
        for channel in range(channels):
            write_nifti(folder / f"imagesTr/case_{index:03d}_{channel:04d}{ending}", a_scan(index * 10 + channel))
        write_nifti(folder / f"labelsTr/case_{index:03d}{ending}", a_label_map())
    content: dict[str, object] = {
        "channel_names": {str(index): f"MR{index}" for index in range(channels)},
        "labels": {"background": 0, "organ": 1},
        "numTraining": cases,
        "file_ending": ending,
    }
    write_json(folder / "dataset.json", {key: value for key, value in (content | changes).items() if value is not None})
    return folder


def write_patient(folder: Path, suffixes: Mapping[str, NDArray[Any]], *, ending: str = ".nii.gz") -> Path:
    """A BraTS patient: one file for each suffix such as "_flair", named after the folder."""
    for suffix, voxels in suffixes.items():
        write_nifti(folder / f"{folder.name}{suffix}{ending}", voxels)
    return folder
