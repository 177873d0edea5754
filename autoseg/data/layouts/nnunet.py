"""Raw folders of nnU-Net: imagesTr/CASE_0000 with one file a channel, and labelsTr/CASE."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoseg.data.dataset import Case
from autoseg.data.layouts.dataset_json import NAME, channel_names, label_scheme, read_json, required
from autoseg.data.layouts.found import (
    Found,
    OtherLayoutError,
    by_stem,
    images_in,
    in_order,
    refuse_missing,
    relative,
)
from autoseg.data.readers import image_ending, image_stem
from autoseg.data.templates import Template
from autoseg.errors import DatasetError

_CHANNEL_FILE = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def find(folder: Path, _template: Template | None) -> Found:
    """The cases of version 2 (`channel_names` in dataset.json) or version 1 (`modality`, files ending in _0000).

    A channel or label map that is not there is left for the check to report, with the name it should have.
    """
    file = folder / NAME
    if not file.is_file():
        raise OtherLayoutError(f"no {NAME}")
    content = read_json(file)
    if not isinstance(content, dict):
        raise OtherLayoutError(f"{NAME} holds a list, no object")
    key = _channels_key(content, folder)
    channels = channel_names(content[key], key=key, file=file)
    labels = label_scheme(content, file)
    listed = content.get("dataset")
    cases = (
        _listed_cases(required(content, "dataset", file=file, kind=dict), folder)
        if listed
        else labelled_cases(folder / "imagesTr", folder / "labelsTr", channels=len(channels), root=folder)
    )
    return Found(
        channels=channels,
        labels=labels,
        cases=in_order(cases),
        test_cases=in_order(_test_cases(folder, len(channels))),
        names=(folder.name, str(content.get("name", ""))),
        reference=str(content.get("reference", "")),
        licence=str(content.get("licence", content.get("license", ""))),
    )


def channel_files(images: Sequence[Path]) -> dict[str, dict[int, Path]]:
    """Files named CASE_0000, CASE_0001, ... by case and channel; other files are left out."""
    found: dict[str, dict[int, Path]] = {}
    for path in images:
        match = _CHANNEL_FILE.fullmatch(image_stem(path))
        if match:
            found.setdefault(match["case"], {})[int(match["channel"])] = path
    return found


def labelled_cases(images: Path, labels: Path, *, channels: int, root: Path) -> list[Case]:
    """Each case of the folder `images` with the label map that its name promises."""
    known = by_stem(images_in(labels))
    cases = []
    for case, files in channel_files(images_in(images)).items():
        ending = image_ending(next(iter(files.values())))
        label = known.get(case, labels / f"{case}{ending}")
        cases.append(
            Case(id=case, images=_channel_paths(case, files, channels=channels, root=root), label=relative(label, root))
        )
    return cases


def _channels_key(content: Mapping[str, Any], folder: Path) -> str:
    has_images = bool(channel_files(images_in(folder / "imagesTr"))) or bool(content.get("dataset"))
    if "channel_names" in content:
        if not has_images:
            raise OtherLayoutError("imagesTr holds no CASE_0000 file")
        return "channel_names"
    if not has_images:
        raise OtherLayoutError(f"{NAME} has no key 'channel_names', and imagesTr holds no CASE_0000 file")
    if _names_whole_images(content, folder):
        raise OtherLayoutError(f"{NAME} lists whole images, not files of single channels")
    if "modality" not in content:
        raise DatasetError(f"{folder / NAME}: the key 'channel_names' is missing. Found: {', '.join(map(repr, content))}.")
    return "modality"


def _names_whole_images(content: Mapping[str, Any], folder: Path) -> bool:
    """Whether `training` names files that exist: the Decathlon's way, even where its names end in four digits."""
    entries = content.get("training")
    named = [entry.get("image") for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    return any(isinstance(image, str) and (folder / image).is_file() for image in named[:1])


def _channel_paths(case: str, files: Mapping[int, Path], *, channels: int, root: Path) -> tuple[str, ...]:
    """One file per channel with the names of missing ones made up, or the only file if it may hold all (RGB)."""
    if len(files) == 1 and 0 in files and channels > 1:
        # A colour picture, or a case that lacks channels: the header will tell.
        return (relative(files[0], root),)
    sample = next(iter(files.values()))
    expected = range(max(channels, max(files) + 1))
    paths = (files.get(index, sample.with_name(f"{case}_{index:04d}{image_ending(sample)}")) for index in expected)
    return tuple(relative(path, root) for path in paths)


def _listed_cases(entries: Mapping[str, Any], folder: Path) -> list[Case]:
    """Cases from the key `dataset`: {case: {"images": [...], "label": ...}}, paths relative to the folder."""
    missing: list[str] = []
    cases = []
    for name, entry in entries.items():
        listed = entry.get("images") if isinstance(entry, Mapping) else None
        named: list[Any] = [*listed, entry["label"]] if isinstance(listed, list) and listed and "label" in entry else [None]
        if not all(isinstance(path, str) and path for path in named):
            raise DatasetError(
                f"{folder / NAME}: dataset.{name}: expected an object with the paths 'images' and 'label', "
                f"found {entry!r:.120}."
            )
        *images, label = (relative((folder / path).absolute(), folder) for path in named)
        missing += [f"dataset.{name}: {path}" for path in (*images, label) if not (folder / path).exists()]
        cases.append(Case(id=name, images=tuple(images), label=label))
    refuse_missing(missing, folder / NAME)
    return cases


def _test_cases(folder: Path, channels: int) -> list[Case]:
    known = by_stem(images_in(folder / "labelsTs"))
    return [
        Case(
            id=case,
            images=_channel_paths(case, files, channels=channels, root=folder),
            label=relative(known[case], folder) if case in known else None,
        )
        for case, files in channel_files(images_in(folder / "imagesTs")).items()
    ]
