"""A model folder of nnU-Net: which files it has, and the plan that they amount to."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autoseg.data.layouts.dataset_json import label_scheme, read_json
from autoseg.errors import ArtefactError, DatasetError, PlanError, number_of
from autoseg.interchange.file_digest import file_digest
from autoseg.interchange.nnunet_checkpoint import NnunetCheckpoint, read_checkpoint
from autoseg.interchange.nnunet_configuration import configuration_of, read_plans
from autoseg.interchange.nnunet_format import NnunetPlans
from autoseg.interchange.nnunet_regions import about_order
from autoseg.interchange.nnunet_weights import check_fit, renamed, uses_batch_norm
from autoseg.planning.consistency import check_configuration
from autoseg.planning.nnunet_files import channels_of
from autoseg.planning.plan import Configuration, Decision, Plan, TrainingSettings
from autoseg.planning.presets import PRESETS
from autoseg.training.model_folder import Which

PLANS_FILE = "plans.json"
DATASET_FILE = "dataset.json"
CHECKPOINTS: Mapping[str, Which] = {"checkpoint_final.pth": "final", "checkpoint_best.pth": "best"}
"""Files of a fold, and which weights they hold."""
UNFINISHED = "checkpoint_latest.pth"

READERS: Mapping[str, str | None] = {
    "SimpleITKIO": None,
    "SimpleITKIOWithReorient": "RAS",
    "NibabelIO": None,
    "NibabelIOWithReorient": "RAS",
    "NaturalImage2DIO": None,
    "Tiff3DIO": None,
}
"""nnU-Net's image readers, and the orientation that they turn images to."""
AS_STORED = (
    "images are taken as they are stored, as nnU-Net does; with --orientation CODE (that of its training images, such as "
    "RAS) others are turned"
)
_WITH_GEOMETRY = ("SimpleITKIO", "NibabelIO")
_AXES = {code: axis for axis in ("LR", "AP", "SI") for code in axis}

_PLANNERS = {"ResEncUNetPlanner": "resenc_m"} | {preset.nnunet_planner: name for name, preset in PRESETS.items()}
_SOURCE = "plans.json of nnU-Net"


@dataclass(frozen=True)
class Source:
    """Weights of a fold: where they lie, and which they are."""

    fold: str
    which: Which
    path: Path


@dataclass(frozen=True)
class NnunetModel:
    """A model folder of nnU-Net that has been understood.

    `nnunet_dataset` is what nnU-Net calls its data set. `digest` changes with any of its files. `trainer` is the name
    of the class it was trained by. `notes` say what was decided on the user's behalf.
    """

    folder: Path
    plan: Plan
    configuration: Configuration
    sources: tuple[Source, ...]
    nnunet_dataset: str
    trainer: str
    digest: str
    notes: tuple[str, ...]


def read_folder(folder: Path, *, dataset: str | None = None, orientation: str | None = None) -> NnunetModel:
    """What the model folder of nnU-Net at `folder` holds; nothing in it is run.

    `dataset` replaces the name of its data set. `orientation` is that of the images it was trained on, such as "RAS", which
    most readers of nnU-Net take as they are stored; others are then turned. Raises ArtefactError for a folder without
    plans, dataset.json or checkpoints and for checkpoints that cannot be read or are of another network, PlanError for a
    plan that cannot be taken over, DatasetError for a dataset.json that makes no sense.
    """
    plans_file, dataset_file = _expected(folder)
    sources, notes = _sources(folder)
    first = read_checkpoint(sources[0].path)
    plans = read_plans(read_json(plans_file), plans_file)
    if dataset_file.is_file():
        content = _object(dataset_file)
    else:
        content, dataset_file = _remembered(first, dataset_file), first.path
        notes.append(f"no {DATASET_FILE} beside {PLANS_FILE}: took the one that {first.path.name} remembers")
    plan = _plan(plans, content, first, files=(plans_file, dataset_file), dataset=dataset, orientation=orientation)
    notes += [f"regions: {one.value}, {one.because}" for one in about_order(plan.labels)]
    configuration = plan.configurations[first.configuration]
    for source in sources:
        checkpoint = first if source.path == first.path else read_checkpoint(source.path)
        notes += _differences(first, checkpoint)
        shapes = {name: tuple(tensor.shape) for name, tensor in renamed(checkpoint.weights).items()}
        check_fit(shapes, plan=plan, configuration=configuration, path=source.path)
    if first.trainer != "nnUNetTrainer":
        notes.append(
            f"trained by {first.trainer}, which is only a name here: weights and mirror axes are taken over, not code"
        )
    if plan.orientation is None and READERS[plans.image_reader_writer] is None:
        notes += [AS_STORED] if plans.image_reader_writer in _WITH_GEOMETRY else []
    files = tuple(dict.fromkeys((plans_file, dataset_file, *(source.path for source in sources))))
    return NnunetModel(
        folder=folder,
        plan=plan,
        configuration=configuration,
        sources=tuple(sources),
        nnunet_dataset=plans.dataset_name,
        trainer=first.trainer,
        digest=_digest(files, orientation),
        notes=tuple(dict.fromkeys(notes)),
    )


def is_nnunet_folder(folder: Path) -> bool:
    """Whether `folder` is where nnU-Net keeps a model."""
    return (folder / PLANS_FILE).is_file()


def previous_folder(model: NnunetModel) -> Path | None:
    """The folder beside a cascade's in which nnU-Net keeps the stage that it refines; None where there is none.

    Of several, the one with the same trainer and plans.
    """
    wanted = model.configuration.previous_stage
    found = [path for path in sorted(model.folder.absolute().parent.glob(f"*__{wanted}")) if is_nnunet_folder(path)]
    alike = [path for path in found if path.name.rpartition("__")[0] == model.folder.absolute().name.rpartition("__")[0]]
    return next(iter(alike or found), None)


def _expected(folder: Path) -> tuple[Path, Path]:
    """The two JSON files that every model folder has; the second may be missing."""
    if is_nnunet_folder(folder):
        return folder / PLANS_FILE, folder / DATASET_FILE
    what = f"{folder}: no {PLANS_FILE}"
    if (folder / "plans.pkl").is_file() or (folder.parent / "plans.pkl").is_file():
        raise ArtefactError(f"{what}, but plans.pkl: this is a model of nnU-Net 1. Only models of version 2 can be read.")
    if is_nnunet_folder(folder.parent):
        raise ArtefactError(f"{what}. Give the folder above it: {folder.parent}")
    inner = [path.parent.name for path in sorted(folder.glob(f"*/{PLANS_FILE}"))] if folder.is_dir() else []
    hint = (
        f"Give one of the models in it: {', '.join(inner)}." if inner else f"Expected {PLANS_FILE}, {DATASET_FILE}, fold_X."
    )
    raise ArtefactError(f"{what if folder.is_dir() else f'{folder}: no such folder'}. {hint}")


def _remembered(checkpoint: NnunetCheckpoint, missing: Path) -> Mapping[str, Any]:
    """The dataset.json that a checkpoint carries."""
    if checkpoint.dataset_json is None:
        raise ArtefactError(f"{missing.parent}: no {DATASET_FILE}. nnU-Net keeps it beside {PLANS_FILE}: copy it there.")
    return checkpoint.dataset_json


def _object(file: Path) -> Mapping[str, Any]:
    found = read_json(file)
    if not isinstance(found, dict):
        raise DatasetError(f"{file}: expected an object, found {type(found).__name__}.")
    return found


def _sources(folder: Path) -> tuple[list[Source], list[str]]:
    """The weights of every fold, and what there is to say of them."""
    sources, notes = [], []
    for fold in sorted(path for path in folder.glob("fold_*") if path.is_dir()):
        name = fold.name.removeprefix("fold_")
        found = [Source(name, which, fold / file) for file, which in CHECKPOINTS.items() if (fold / file).is_file()]
        if not found and (fold / UNFINISHED).is_file():
            found = [Source(name, "best", fold / UNFINISHED)]
            notes.append(f"fold {name}: its training has not finished; took {UNFINISHED}")
        if not found:
            notes.append(f"fold {name}: no checkpoint; left out")
        sources += found
    if not sources:
        names = " or ".join(CHECKPOINTS)
        raise ArtefactError(f"{folder}: no checkpoint found. Expected {names} in a folder such as fold_0 or fold_all.")
    return sources, notes


def _plan(
    plans: NnunetPlans,
    content: Mapping[str, Any],
    checkpoint: NnunetCheckpoint,
    *,
    files: tuple[Path, Path],
    dataset: str | None,
    orientation: str | None,
) -> Plan:
    plans_file, dataset_file = files
    labels = label_scheme(content, dataset_file, as_listed=True)
    norm: Literal["instance", "batch"] = "batch" if uses_batch_norm(checkpoint.weights) else "instance"
    one = configuration_of(plans, checkpoint.configuration, labels=labels, norm=norm, file=plans_file)
    preset = _PLANNERS.get(plans.experiment_planner_used, "nnunet")
    if sorted(plans.transpose_forward) != [0, 1, 2]:
        raise PlanError(f"{plans_file}: transpose_forward: expected an order of 0, 1, 2, found {plans.transpose_forward}.")
    plan = Plan(
        dataset=dataset or plans.dataset_name,
        channels=channels_of(content, dataset_file),
        labels=labels,
        file_ending=str(content.get("file_ending", ".nii.gz")),
        orientation=_orientation(plans, plans_file, orientation),
        transpose_forward=plans.transpose_forward,
        preset=preset,
        gpu_memory_gb=PRESETS[preset].reference_gb,
        configurations={one.name: one},
        training=TrainingSettings(
            loss="dice_bce" if labels.target == "regions" else "dice_ce",
            mirror_axes=_image_axes(checkpoint.mirror_axes, one.dimensions, checkpoint.path),
        ),
        decisions=(*_decisions(plans, checkpoint), *about_order(labels)),
        made_from={},
    )
    if len(one.normalisation) != len(plan.channels):
        raise ArtefactError(
            f"{plans_file}: normalises {number_of(len(one.normalisation), 'channel')}, {dataset_file} names "
            f"{len(plan.channels)} ({', '.join(plan.channels)}). Put the dataset.json there that the model was "
            "trained with."
        )
    check_configuration(one, plan=plan, key=f"{one.name} (in {plans_file})")
    return plan


def _orientation(plans: NnunetPlans, file: Path, given: str | None) -> str | None:
    """What images are turned to: what nnU-Net's reader does, else what the user says of the training images."""
    reader = plans.image_reader_writer
    if reader not in READERS:
        raise PlanError(f"{file}: image_reader_writer: found {reader!r}, known are {', '.join(READERS)}.")
    if given is None:
        return READERS[reader]
    wanted = given.upper()
    if sorted(_AXES.get(code, "") for code in wanted) != ["AP", "LR", "SI"]:
        raise PlanError(f"--orientation {given}: expected one letter each of L or R, A or P, S or I, such as RAS or LPS.")
    if READERS[reader] not in (None, wanted):
        raise PlanError(
            f"--orientation {given}: {file} says that {reader} turned all images to {READERS[reader]}. Leave it out."
        )
    return wanted


def _image_axes(axes: Sequence[int], dimensions: int, path: Path) -> tuple[int, ...]:
    """Axes of the network counted as axes of the image (0 = z)."""
    if any(axis >= dimensions for axis in axes):
        raise ArtefactError(f"{path}: inference_allowed_mirroring_axes: found {axes} for a {dimensions}-D network.")
    return tuple(axis + 3 - dimensions for axis in axes)


def _decisions(plans: NnunetPlans, checkpoint: NnunetCheckpoint) -> tuple[Decision, ...]:
    because = f"{plans.plans_name} of {plans.dataset_name}, made by {plans.experiment_planner_used}"
    mirrored = ", ".join(map(str, checkpoint.mirror_axes)) or "none"
    return (
        Decision(name="imported", value=checkpoint.configuration, because=because, source=_SOURCE),
        Decision(name="trainer", value=checkpoint.trainer, because="taken as a name", source="checkpoint of nnU-Net"),
        Decision(name="mirror axes", value=mirrored, because="of the network", source="checkpoint of nnU-Net"),
    )


def _differences(first: NnunetCheckpoint, other: NnunetCheckpoint) -> list[str]:
    """Raises where two folds are of different configurations; notes what the first one decides."""
    if other.configuration != first.configuration:
        raise ArtefactError(
            f"{other.path}: trained on {other.configuration}, but {first.path} on {first.configuration}. "
            "A model folder holds folds of one configuration."
        )
    if other.mirror_axes != first.mirror_axes:
        return [f"{other.path} allows other mirror axes than {first.path}; the latter's are taken, as nnU-Net does"]
    return []


def _digest(files: Sequence[Path], orientation: str | None) -> str:
    seen = hashlib.sha256((orientation or "").upper().encode())
    for file in files:
        seen.update(bytes.fromhex(file_digest(file)))
    return seen.hexdigest()[:16]
