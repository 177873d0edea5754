"""What lies in the folder of a data set and is not trained on: said, so that nothing is left out in silence."""

from pathlib import Path

from autoseg.data.check import Problem
from autoseg.data.dataset import Dataset
from autoseg.data.layouts.found import images_in, subfolders
from autoseg.errors import listed, number_of


def set_aside(dataset: Dataset) -> list[Problem]:
    """Warnings about patients of a folder in the BraTS layout that have no label map, and about folders without images."""
    if dataset.layout != "brats":
        return []
    return [*_without_label(dataset), *_without_images(dataset)]


def _without_label(dataset: Dataset) -> list[Problem]:
    names = [case.id for case in dataset.test_cases]
    if not (names and dataset.cases):
        return []
    return [
        _warning(
            dataset,
            case=listed(names),
            field="label missing",
            found=f"{number_of(len(names), 'patient')} without a segmentation, beside {len(dataset.cases)} with one",
            expected="a segmentation for each patient to train on",
            advice="They are not trained on, but kept to predict. Add the files if they belong to the training set.",
        )
    ]


def _without_images(dataset: Dataset) -> list[Problem]:
    """Folders beside those of patients that are no case themselves."""
    folders = {(dataset.folder / case.images[0]).parent for case in (*dataset.cases, *dataset.test_cases)}
    beside = {sibling for parent in {folder.parent for folder in folders} for sibling in subfolders(parent)}
    return [
        _warning(
            dataset,
            case=folder.name,
            field="folder left out",
            found=_content(folder),
            expected="the sequences of a patient",
            advice="Complete the download, or remove the folder.",
        )
        for folder in sorted(beside - folders)
        if not subfolders(folder)
    ]


def _content(folder: Path) -> str:
    images = [path.name for path in images_in(folder)]
    return f"only {listed(images)}" if images else "no image"


def _warning(dataset: Dataset, *, case: str, field: str, found: str, expected: str, advice: str) -> Problem:
    return Problem(
        severity="warning", case=case, file=dataset.root, field=field, found=found, expected=expected, advice=advice
    )
