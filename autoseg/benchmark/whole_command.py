"""The whole prediction command from start to exit, in turn with nnU-Net's from the same weights on the same images."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from autoseg.benchmark.spent import Side, Spent, Turns, own_command, own_environment, spent_by
from autoseg.benchmark.timing import this_machine
from autoseg.data.readers import image_ending, image_stem, is_image, read_labels
from autoseg.errors import BenchmarkError, number_of
from autoseg.interchange.installing import Installed
from autoseg.interchange.nnunet_import import import_nnunet
from autoseg.progress import SILENT, Progress
from autoseg.resources import available_cores
from autoseg.workspace import open_workspace

OWN = "from autoseg.cli.app import main; main()"
THEIRS = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as main; main()"
FIRST_CHANNEL = "_0000"
IMPORTED = "imported"


def measure_commands(
    model: Path,
    images: Path,
    folder: Path,
    *,
    python: Path | None,
    pairs: int,
    mirroring: bool = True,
    options: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Turns:
    """`autoseg_predict` on `images` with the model folder `model` of nnU-Net, `pairs` times in turn with nnU-Net itself.

    `python` is the interpreter that has nnunetv2 (None: autoseg alone). Both run as a user would start them, on all cores,
    and are timed from start to exit: reading the weights, the images, writing the label maps. `options` go to
    `autoseg_predict` alone. Everything is written below `folder`. Agreement is the Dice of each label with nnU-Net's
    label maps, the mean over cases.
    """
    ours = import_nnunet(model, open_workspace(folder / "workspace"), name=IMPORTED, overwrite=True)[-1]
    for earlier in [folder / "images", *folder.glob("autoseg_*"), *folder.glob("nnunet_*")]:
        shutil.rmtree(earlier, ignore_errors=True)
    given = _laid_out(images, folder / "images")
    own, other = [], []
    for turn in progress.track(range(pairs), description="pairs", total=pairs):
        own.append(_own(ours, given, folder / f"autoseg_{turn}", mirroring=mirroring, options=options))
        if python is not None:
            other.append(_theirs(python, model, ours.folds, given, folder / f"nnunet_{turn}", mirroring=mirroring))
    cases = number_of(len({path.name for path in (folder / "autoseg_0").iterdir() if is_image(path)}), "case")
    return Turns(
        what=f"{cases} of {images.name}, {'' if mirroring else 'not '}mirrored, {ours.dataset} {ours.configuration}",
        machine=this_machine(device="cpu", threads=available_cores()),
        ours=Side(name=" ".join(["autoseg_predict", *options]), runs=tuple(own)),
        theirs=Side(name="nnU-Net", runs=tuple(other)) if other else None,
        agreement=agreement(folder / "autoseg_0", folder / "nnunet_0") if other else {},
    )


def _own(model: Installed, images: Path, output: Path, *, mirroring: bool, options: Sequence[str]) -> Spent:
    chosen = ["-w", str(model.path.parents[2]), "-d", model.dataset, "-m", model.name]
    asked = [*([] if mirroring else ["--no-mirroring"]), "--device", "cpu", "-q", *options]
    command = own_command(OWN, "predict", *chosen, "-i", str(images), "-o", str(output), *asked)
    return spent_by(command, name="autoseg", folder=output.parent, environment=own_environment())[0]


def _theirs(python: Path, model: Path, folds: Sequence[str], images: Path, output: Path, *, mirroring: bool) -> Spent:
    where = ["-i", str(images), "-o", str(output), "-m", str(model.absolute()), "-f", *folds]
    asked = ["-device", "cpu", *([] if mirroring else ["--disable_tta"])]
    unused = {f"nnUNet_{kind}": str(output.parent) for kind in ("raw", "preprocessed", "results")}
    command = [str(python), "-c", THEIRS, *where, *asked]
    return spent_by(command, name=f"nnU-Net in {python}", folder=output.parent, environment=unused)[0]


def _laid_out(images: Path, folder: Path) -> Path:
    """Links to the images, each named as channel 0 of its case where no channel is named."""
    found = [path for path in sorted(images.iterdir()) if is_image(path)] if images.is_dir() else []
    if not found:
        raise BenchmarkError(f"{images}: holds no images. Name a folder with CASE.nii.gz or CASE_0000.nii.gz files.")
    folder.mkdir(parents=True, exist_ok=True)
    numbered = any(image_stem(path).endswith(FIRST_CHANNEL) for path in found)
    for path in found:
        name = path.name if numbered else f"{image_stem(path)}{FIRST_CHANNEL}{image_ending(path)}"
        (folder / name).symlink_to(path.absolute())
    return folder


def agreement(ours: Path, theirs: Path) -> dict[str, float]:
    """Dice of each label value but 0 between the label maps of two folders, the mean over the cases that have it."""
    found: dict[int, list[float]] = {}
    for path in sorted(ours.iterdir()):
        if not is_image(path):
            continue
        one, other = (read_labels(folder / path.name)[0] for folder in (ours, theirs))
        for value in sorted({*np.unique(one).tolist(), *np.unique(other).tolist()} - {0}):
            a, b = one == value, other == value
            found.setdefault(value, []).append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return {str(value): mean(scores) for value, scores in sorted(found.items())}
