"""A planned data set in the layout and with the plan format of nnU-Net."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.artefacts import written_whole
from autoseg.data.dataset import Case, Dataset
from autoseg.data.labels import LabelScheme
from autoseg.data.readers import read_files, read_labels, write_image, write_labels
from autoseg.planning.facts import Facts
from autoseg.planning.nnunet_plans import nnunet_plans
from autoseg.planning.plan import Plan

ENDING = ".nii.gz"


def lay_out(dataset: Dataset, folder: Path) -> None:
    """Write the data set into `folder` as nnU-Net wants it: one file a channel, consecutive label values, .nii.gz.

    Files that are as wanted already are linked, the others converted. What is there already is left alone.
    """
    for cases, images in ((dataset.cases, "imagesTr"), (dataset.test_cases, "imagesTs")):
        for case in cases:
            _images(case, dataset, folder / images)
    for case in dataset.cases:
        _labels(case, dataset, folder / "labelsTr")
    with written_whole(folder / "dataset.json") as file:
        file.write(json.dumps(_description(dataset), indent=1).encode())


def _images(case: Case, dataset: Dataset, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    targets = [folder / f"{case.id}_{channel:04d}{ENDING}" for channel in range(len(dataset.channels))]
    if all(target.exists() for target in targets):
        return
    paths = case.image_paths(dataset.folder)
    if len(paths) == len(targets) and all(path.name.endswith(ENDING) for path in paths):
        for path, target in zip(paths, targets, strict=True):
            _link(path, target)
        return
    left = iter(targets)
    for image in read_files(case, dataset.folder, channels=dataset.channels):
        for channel in image.voxels:
            write_image(next(left), channel[None], image.geometry)


def _labels(case: Case, dataset: Dataset, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    source, target = case.label_path(dataset.folder), folder / f"{case.id}{ENDING}"
    if source is None or target.exists():
        return
    if source.name.endswith(ENDING) and _is_consecutive(dataset.labels):
        _link(source, target)
        return
    values, geometry = read_labels(source)
    write_labels(target, dataset.labels.encode(values).astype(np.int16), geometry)


def _is_consecutive(labels: LabelScheme) -> bool:
    values = [label.value for label in labels.labels]
    return values == list(range(len(values))) and labels.ignore in (None, len(values))


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    target.symlink_to(source.resolve())


def _description(dataset: Dataset) -> dict[str, Any]:
    """The content of nnU-Net's dataset.json; regions in the order they are painted in."""
    scheme = dataset.labels
    labels: dict[str, Any] = {"background": 0}
    order: dict[str, Any] = {}
    if scheme.target == "regions":
        regions = [scheme.regions[index] for index in scheme.paint_order]
        labels |= {region.name: list(scheme.classes_of(region)) for region in regions}
        class_of = {label.value: index for index, label in enumerate(scheme.labels)}
        order = {"regions_class_order": [class_of[region.writes] for region in regions if region.writes is not None]}
    else:
        labels |= {label.name: index for index, label in enumerate(scheme.labels) if index}
    if scheme.ignore is not None:
        labels["ignore"] = len(scheme.labels)
    return {
        "channel_names": {str(index): name for index, name in enumerate(dataset.channels)},
        "labels": labels,
        **order,
        "numTraining": len(dataset.cases),
        "file_ending": ENDING,
    }


def plans_of(plan: Plan, facts: Facts, *, name: str, dataset: str, configurations: Sequence[str]) -> dict[str, Any]:
    """The plan as nnU-Net reads it, called `name`, for its `dataset`; raises PlanError for a network that it lacks."""
    chosen = plan.model_copy(update={"configurations": {key: plan.configurations[key] for key in configurations}})
    made = nnunet_plans(chosen, facts)
    for key in configurations:
        made["configurations"][key]["data_identifier"] = f"{name}_{key}"
    return {**made, "plans_name": name, "dataset_name": dataset}
