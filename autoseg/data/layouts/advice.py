"""What to do about a folder that is no data set, by what lies in it."""

import os
from collections.abc import Iterator
from pathlib import Path

from autoseg.data.layouts.found import images_in, relative
from autoseg.data.readers import image_stem

DEEPEST = 3
MOST_FILES = 500
SHOWN = 4
LABEL_WORDS = ("label", "seg", "mask", "gt", "annotation")

GENERAL = "Name the folder that holds these files, or list them in a CSV file (columns id, one per channel, label)."


def next_step(place: Path) -> str:
    """The next step for the user of a folder of DICOM series, of scans without any known order, or of anything else."""
    files = list(_images(place)) if place.is_dir() else []
    series = sorted({file.parent for file in files if file.suffix.lower() == ".dcm"})
    scans = [file for file in files if file.suffix.lower() != ".dcm"]
    if series and not scans:
        named = ", ".join(_name(folder, place) for folder in series[:SHOWN])
        return (
            f"It holds DICOM series ({named}) and no label map. A trained model predicts them: autoseg_predict -i {place} "
            "-o OUT. To train on them, draw a label map for each case and list both in a CSV file (columns id, one per "
            "channel, label; a series is named by its folder)."
        )
    labels = [file for file in scans if any(word in image_stem(file).lower() for word in LABEL_WORDS)]
    if not labels:
        words = f"It holds images, but no file that is called a label map ({', '.join(LABEL_WORDS)}). " if scans else ""
        return words + GENERAL
    where = f"For example as {place / 'cases.csv'}, or anywhere else with whole paths (call the column CT if it is CT):"
    return "\n".join([f"{GENERAL} {where}", *(f"  {line}" for line in _example(place, scans, labels))])


def _example(place: Path, scans: list[Path], labels: list[Path]) -> list[str]:
    """The first lines of a list of what lies there: each label map with an image beside it."""
    lines = ["id,image,label"]
    for label in labels:
        images = [file for file in scans if file.parent == label.parent and file not in labels]
        if images:
            image = min(images, key=lambda file: (image_stem(file).lower() != "image", file.name))
            name = label.parent.name if label.parent != place else image_stem(image)
            lines.append(f"{name},{relative(image, place)},{relative(label, place)}")
    return lines[: 1 + SHOWN]


def _images(place: Path) -> Iterator[Path]:
    """Image files at most DEEPEST levels down, MOST_FILES of them."""
    left = MOST_FILES
    for folder, below, _ in os.walk(place):
        here = Path(folder)
        if len(here.relative_to(place).parts) >= DEEPEST:
            below.clear()
        below.sort()
        for file in images_in(here)[:left]:
            left -= 1
            yield file
        if left <= 0:
            return


def _name(folder: Path, place: Path) -> str:
    return folder.name if folder == place else relative(folder, place)
