"""Folders of the Medical Segmentation Decathlon: dataset.json lists image and label of each case."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from autoseg.data.dataset import Case
from autoseg.data.layouts.dataset_json import NAME, channel_names, label_scheme, read_json, required
from autoseg.data.layouts.found import Found, OtherLayoutError, in_order, refuse_missing, relative
from autoseg.data.readers import READERS, image_stem, is_image
from autoseg.data.templates import Template
from autoseg.errors import DatasetError


def find(folder: Path, _template: Template | None) -> Found:
    """The cases that `training` and `test` of dataset.json name; labels of test cases are taken from labelsTs if there.

    A file may lie there with another ending than the one named, as where archives were unpacked one time too often. Test
    images that were not downloaded are left out.
    """
    file = folder / NAME
    if not file.is_file():
        raise OtherLayoutError(f"no {NAME}")
    content = read_json(file)
    if not isinstance(content, dict):
        raise OtherLayoutError(f"{NAME} holds a list, no object")
    is_a_list = "cases" in content or not (folder / "imagesTr").is_dir()
    if "training" not in content and "modality" not in content and is_a_list:
        raise OtherLayoutError(f"{NAME} has neither of the keys 'modality' and 'training'")
    channels = channel_names(required(content, "modality", file=file, kind=dict), key="modality", file=file)
    entries = required(content, "training", file=file, kind=list)
    missing: list[str] = []
    cases = [
        _training_case(entry, key=f"training.{index}", folder=folder, missing=missing)
        for index, entry in enumerate(entries)
    ]
    refuse_missing(missing, file)
    return Found(
        channels=channels,
        labels=label_scheme(content, file),
        cases=in_order(cases),
        test_cases=in_order(_test_cases(content, folder)),
        names=(folder.name, str(content.get("name", ""))),
        reference=str(content.get("reference", "")),
        licence=str(content.get("licence", content.get("license", ""))),
    )


def _training_case(entry: Any, *, key: str, folder: Path, missing: list[str]) -> Case:
    """One entry of `training`; files that are not there are added to `missing`."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("image"), str) or not isinstance(entry.get("label"), str):
        raise DatasetError(f"{folder / NAME}: {key}: expected an object with 'image' and 'label', found {entry!r:.120}.")
    image, label = (_as_stored(_clean(entry[field]), folder) for field in ("image", "label"))
    missing += [
        f"{key}.{field}: {file}" for field, file in (("image", image), ("label", label)) if not (folder / file).exists()
    ]
    return Case(id=image_stem(Path(image)), images=(image,), label=label)


def _test_cases(content: Mapping[str, Any], folder: Path) -> list[Case]:
    """Cases of `test`, which holds paths, or objects with the path as "image"."""
    cases = []
    entries = required(content, "test", file=folder / NAME, kind=list) if "test" in content else []
    for index, entry in enumerate(entries):
        named = entry.get("image") if isinstance(entry, Mapping) else entry
        if not isinstance(named, str):
            raise DatasetError(f"{folder / NAME}: test.{index}: expected the path of an image, found {entry!r:.120}.")
        image = _as_stored(_clean(named), folder)
        if (folder / image).exists():
            label = _as_stored(f"labelsTs/{PurePosixPath(image).name}", folder)
            known = label if (folder / label).exists() else None
            cases.append(Case(id=image_stem(Path(image)), images=(image,), label=known))
    return cases


def _as_stored(path: str, folder: Path) -> str:
    """The path of the only file of that name with any ending of an image; as it is where there is none, or several."""
    file = folder / path
    if file.exists() or not is_image(file):
        return path
    others = _of_the_same_name(file)
    return relative(others[0], folder) if len(others) == 1 else path


def _of_the_same_name(file: Path) -> list[Path]:
    """The image files beside `file` that have its name without the ending."""
    stem = image_stem(file)
    return [path for path in (file.with_name(stem + ending) for ending in READERS) if path.exists()]


def _clean(path: str) -> str:
    """The path without a leading "./" and with forward slashes."""
    return PurePosixPath(path.replace("\\", "/")).as_posix()
