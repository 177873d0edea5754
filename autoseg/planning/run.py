"""From a folder with a data set to a plan in the workspace."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from pydantic import BaseModel

from autoseg.artefacts import load, save
from autoseg.data.check import Problem, check_headers, has_errors
from autoseg.data.dataset import Dataset
from autoseg.data.formats.header import Header
from autoseg.data.headers import CaseHeaders, read_headers
from autoseg.data.layouts import find_dataset, recognise
from autoseg.data.set_aside import set_aside
from autoseg.data.understanding import Understanding, summarise
from autoseg.errors import ArtefactError, DatasetError
from autoseg.fingerprint.case import case_bytes
from autoseg.fingerprint.fingerprint import Fingerprint
from autoseg.fingerprint.run import examine
from autoseg.planning.facts import Facts, facts_of
from autoseg.planning.gpus import target, visible_gpus
from autoseg.planning.nnunet_files import facts_of_nnunet
from autoseg.planning.plan import Plan
from autoseg.planning.planner import make_plan
from autoseg.planning.settings import apply_settings
from autoseg.progress import SILENT, Progress
from autoseg.resources import sensible_workers
from autoseg.workspace import DatasetFolder, Workspace, open_workspace

A = TypeVar("A", bound=BaseModel)

REMAKE = "autoseg_plan DATASET"

Adjustment = Callable[[Plan, Facts], Plan]


def unchanged(plan: Plan, facts: Facts) -> Plan:
    """The plan as it is."""
    return plan


@dataclass(frozen=True)
class Checked:
    """A data set after every file has been looked at. `fingerprint` is complete where no problem is an error."""

    dataset: Dataset
    fingerprint: Fingerprint
    problems: tuple[Problem, ...]
    understanding: Understanding
    folder: DatasetFolder


@dataclass(frozen=True)
class Planned:
    """A plan, what it was made from and where it lies.

    `was_up_to_date` says that the same plan was there already; `replaced` is where another one has been moved.
    """

    plan: Plan
    facts: Facts
    checked: Checked
    was_up_to_date: bool
    replaced: Path | None


def plan(
    dataset: Path | str,
    *,
    workspace: Workspace | None = None,
    template: str | None = None,
    name: str | None = None,
    preset: str = "nnunet",
    gpu_memory_gb: float | Literal["auto"] | None = None,
    settings: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress = SILENT,
    executor: Executor | None = None,
) -> Plan:
    """The plan for the data set in a folder, made and saved in the workspace as far as it is not up to date.

    Cases whose files have not changed are not read again. `gpu_memory_gb` defaults to what the preset is made for, capped
    by the smallest GPU in sight; "auto" takes all of that. `settings` are KEY=VALUE overrides. Raises DatasetError listing
    all problems that would make training wrong.
    """
    memory = target(preset, asked=gpu_memory_gb, gpus=visible_gpus())
    checked = check(
        dataset,
        workspace=workspace,
        template=template,
        name=name,
        workers=workers,
        progress=progress,
        executor=executor,
    )
    return save_plan(
        checked,
        preset=preset,
        gpu_memory_gb=memory.gpu_memory_gb,
        device_bytes=memory.device_bytes,
        settings=settings,
    ).plan


def check(
    dataset: Path | str,
    *,
    workspace: Workspace | None = None,
    template: str | None = None,
    name: str | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
    executor: Executor | None = None,
) -> Checked:
    """Recognise a data set and look for everything that is wrong with it: headers first, then every voxel once.

    `dataset` is a folder, or the name of one below the current folder or AUTOSEG_RAW. Only measurements of cases are
    written, to the workspace. Raises DatasetError when it is no data set.
    """
    workspace = workspace or open_workspace()
    found = _recognised(str(dataset), workspace, template=template, name=name)
    folder = workspace.dataset(found.name)
    headers = read_headers(found, progress=progress)
    problems = [*set_aside(found), *check_headers(found, headers=headers)]
    wrong = {problem.case for problem in problems if problem.severity == "error"}
    sound = found.model_copy(update={"cases": tuple(case for case in found.cases if case.id not in wrong)})
    fingerprint, in_voxels = examine(
        sound if wrong else found,
        cache=folder.case_cache,
        workers=workers if workers is not None else sensible_workers(_case_bytes(headers)),
        progress=progress,
        executor=executor,
    )
    counts = {case.id: case.label_voxels for case in fingerprint.cases}
    return Checked(
        dataset=found,
        fingerprint=fingerprint,
        problems=(*problems, *in_voxels),
        understanding=summarise(found, headers=headers, label_counts=counts),
        folder=folder,
    )


def _recognised(text: str, workspace: Workspace, *, template: str | None, name: str | None) -> Dataset:
    """The data set that `text` names: a folder or list, one below the usual places, or one that has been planned before."""
    if not Path(text).expanduser().exists() and text in workspace.planned():
        before = _stored(Dataset, workspace.dataset(text).dataset_file)
        if before is not None and before.layout != "listing":
            return recognise(before.folder, template=template, name=name or text)
    return recognise(find_dataset(text, planned=workspace.planned()), template=template, name=name)


def _case_bytes(headers: Sequence[CaseHeaders]) -> int:
    """Memory that the largest case takes while it is measured."""
    sizes = [
        case_bytes(int(np.prod(header.geometry.shape)), channels=header.channels)
        for one in headers
        for header in one.images
        if isinstance(header, Header)
    ]
    return max(sizes, default=1)


def save_plan(
    checked: Checked,
    *,
    preset: str = "nnunet",
    gpu_memory_gb: float | None = None,
    device_bytes: int | None = None,
    settings: Sequence[str] = (),
    adjust: Adjustment = unchanged,
) -> Planned:
    """Make the plan for a checked data set and save it with data set and fingerprint; what is up to date is left alone.

    `adjust` may change the plan before it is saved. Another plan that was there is kept as plan_previous.json. Raises
    DatasetError when the data set has errors.
    """
    refuse_errors(checked)
    facts = facts_of(checked.dataset, checked.fingerprint)
    by_rule = make_plan(facts, preset=preset, gpu_memory_gb=gpu_memory_gb, device_bytes=device_bytes)
    made = adjust(apply_settings(by_rule, settings), facts)
    folder = checked.folder
    _save_if_new(checked.dataset, folder.dataset_file)
    _save_if_new(checked.fingerprint, folder.fingerprint_file)
    replaced = None
    if folder.plan_file.exists() and _stored(Plan, folder.plan_file) != made:
        replaced = folder.plan_file.with_name("plan_previous.json")
        folder.plan_file.replace(replaced)
    is_new = _save_if_new(made, folder.plan_file)
    Workspace(folder.path.parent).remember(checked.dataset.name)
    return Planned(plan=made, facts=facts, checked=checked, was_up_to_date=not is_new, replaced=replaced)


def refuse_errors(checked: Checked) -> None:
    """Raise DatasetError listing every problem that would make training wrong, if there is any."""
    if not has_errors(checked.problems):
        return
    errors = [problem.message for problem in checked.problems if problem.severity == "error"]
    listed = "\n".join(f"  {message}" for message in errors)
    raise DatasetError(f"{checked.dataset.name}: {len(errors)} problems would make training wrong:\n{listed}")


def _save_if_new(artefact: BaseModel, path: Path) -> bool:
    """Save `artefact` unless the file holds the same; whether it was saved."""
    if path.exists() and _stored(type(artefact), path) == artefact:
        return False
    save(artefact, path)
    return True


def _stored(kind: type[A], path: Path) -> A | None:
    """What the file holds; None where it is damaged or of an older format and so has to be made anew."""
    try:
        return load(kind, path, remake=REMAKE)
    except ArtefactError:
        return None


def plan_from_fingerprint(
    fingerprint_file: Path,
    dataset_file: Path,
    *,
    name: str | None = None,
    preset: str = "nnunet",
    gpu_memory_gb: float | None = None,
    device_bytes: int | None = None,
    settings: Sequence[str] = (),
    adjust: Adjustment = unchanged,
) -> tuple[Plan, Facts]:
    """A plan without images, from a fingerprint and a dataset.json of autoseg or of nnU-Net, and the facts it rests on."""
    facts = facts_from_files(fingerprint_file, dataset_file, name=name)
    by_rule = make_plan(facts, preset=preset, gpu_memory_gb=gpu_memory_gb, device_bytes=device_bytes)
    return adjust(apply_settings(by_rule, settings), facts), facts


def facts_from_files(fingerprint_file: Path, dataset_file: Path, *, name: str | None = None) -> Facts:
    """The facts in a fingerprint and a dataset.json, told apart by their keys."""
    if not _is_own(fingerprint_file):
        return facts_of_nnunet(fingerprint_file, dataset_file, name=name)
    dataset = load(Dataset, dataset_file, remake=REMAKE)
    return facts_of(dataset, load(Fingerprint, fingerprint_file, remake=REMAKE))


def _is_own(fingerprint_file: Path) -> bool:
    try:
        found = json.loads(fingerprint_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "cases" in found
