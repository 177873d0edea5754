"""From scores to a file: interpolating, deciding and writing many classes, in turn with nnU-Net's own export."""

import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autoseg.benchmark.nnunet import SCRIPT
from autoseg.benchmark.spent import KIB, Side, Spent, Turns, own_command, own_environment, spent_by
from autoseg.benchmark.timing import this_machine
from autoseg.data.readers import read_labels
from autoseg.errors import BenchmarkError
from autoseg.progress import SILENT, Progress

if TYPE_CHECKING:
    from torch import Tensor

    from autoseg.prediction.refining import Scores
    from autoseg.prediction.sums import Box

MAKE, OWN = (f"from autoseg.benchmark.exporting import {name}; {name}()" for name in ("make_scores", "export_scores"))
FEATURES = (8, 16, 32)
SLICES = 8
"""Slices of scores that autoseg's export is handed at a time."""
COARSENESS = 12
"""Voxels between the numbers that the made-up image is interpolated from."""


@dataclass(frozen=True)
class ExportWork:
    """Scores of so many classes at `network_spacing_mm`, wanted on a grid of `shape` (z, y, x) at `spacing_mm`."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    network_spacing_mm: float
    classes: int

    @property
    def network_shape(self) -> tuple[int, int, int]:
        """Voxels of the scores' own grid."""
        z, y, x = (
            round(size * spacing / self.network_spacing_mm)
            for size, spacing in zip(self.shape, self.spacing_mm, strict=True)
        )
        return z, y, x


def measure_export(
    work: ExportWork, folder: Path, *, python: Path | None, pairs: int, threads: int, progress: Progress = SILENT
) -> Turns:
    """The scores that a network of random weights gives for a smooth random image, exported `pairs` times by each program.

    Every run is a fresh process that has read the scores (float16, as nnU-Net hands them on) before its clock starts; the
    peak of memory holds them. `python` is the interpreter that has nnunetv2 (None: autoseg alone). Agreement is the share
    of voxels with the same label, and beside it the share of voxels whose neighbour has another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scores = folder / "scores.npy"
    request = {**asdict(work), "scores": str(scores), "threads": threads}
    # In a process of its own: what this one takes at its peak counts as taken by those that it starts.
    spent_by(own_command(MAKE), name="autoseg", folder=folder, environment=own_environment(), request=json.dumps(request))
    files = {name: folder / f"{name}.nii.gz" for name in ("autoseg", "nnunet")}
    own, other = [], []
    for _ in progress.track(range(pairs), description="pairs", total=pairs):
        own.append(_asked(own_command(OWN), own_environment(threads), {**request, "output": str(files["autoseg"])}))
        if python is not None:
            command = [str(python), "-I", str(SCRIPT), "export"]
            unused = {f"nnUNet_{kind}": str(folder) for kind in ("raw", "preprocessed", "results")}
            environment = {**unused, "OMP_NUM_THREADS": str(threads)}
            other.append(_asked(command, environment, {**request, "output": str(files["nnunet"])}))
    sizes = " to ".join(" x ".join(map(str, shape)) for shape in (work.network_shape, work.shape))
    return Turns(
        what=f"export of {work.classes} classes, {sizes} voxels",
        machine=this_machine(device="cpu", threads=threads),
        ours=Side(name="autoseg", runs=tuple(own)),
        theirs=Side(name="nnU-Net", runs=tuple(other)) if other else None,
        agreement=_alike(files["autoseg"], files["nnunet"] if other else None),
    )


def _asked(command: list[str], environment: Mapping[str, str], request: Mapping[str, Any]) -> Spent:
    """What the export of a request took, by the program's own clock."""
    folder = Path(request["output"]).parent
    _, printed = spent_by(command, name=command[0], folder=folder, environment=environment, request=json.dumps(request))
    return Spent.model_validate_json(printed.strip().splitlines()[-1])


def random_scores(work: ExportWork, *, seed: int = 0) -> NDArray[np.float16]:
    """Logits (class, z, y, x) of a small U-Net with random weights, seeing smooth noise in a single window."""
    import torch
    import torch.nn.functional as F

    from autoseg.benchmark.halving import halving_unet
    from autoseg.networks.unet import build_network

    spec = halving_unet(FEATURES, blocks=1)
    network = build_network(spec, dimensions=3, in_channels=1, out_channels=work.classes, deep_supervision=False, seed=seed)
    factor = 2 ** (len(FEATURES) - 1)
    padded = [-(-size // factor) * factor for size in work.network_shape]
    coarse = torch.randn(1, 1, *(size // COARSENESS + 2 for size in padded), generator=torch.Generator().manual_seed(seed))
    z, y, x = work.network_shape
    with torch.no_grad():
        logits = network.eval()(F.interpolate(coarse, size=padded, mode="trilinear"))[0, :, :z, :y, :x]
    if not bool(torch.isfinite(logits).all()):
        raise BenchmarkError("the scores of the random network are not finite. Choose a larger --shape.")
    found: NDArray[np.float16] = logits.half().numpy()
    return found


def _alike(ours: Path, theirs: Path | None) -> dict[str, float]:
    labels, _ = read_labels(ours)
    found = {"voxels whose neighbour has another label": float((labels[..., 1:] != labels[..., :-1]).mean())}
    if theirs is not None:
        found["voxels with the same label"] = float((labels == read_labels(theirs)[0]).mean())
    return found


def _work_of(request: Mapping[str, Any]) -> ExportWork:
    (z, y, x), (slice_mm, row_mm, column_mm) = request["shape"], request["spacing_mm"]
    return ExportWork((z, y, x), (slice_mm, row_mm, column_mm), request["network_spacing_mm"], request["classes"])


def make_scores() -> None:
    """Write the scores that the request on standard input names."""
    request = json.load(sys.stdin)
    np.save(request["scores"], random_scores(_work_of(request)))


def export_scores() -> None:
    """Export what the request on standard input names and print what that took."""
    import scipy.ndimage  # noqa: F401  (nnU-Net's libraries are loaded before its clock starts, too)
    import torch

    from autoseg.data.image import Geometry
    from autoseg.data.labels import Label, LabelScheme
    from autoseg.data.readers import write_labels
    from autoseg.prediction.export import export
    from autoseg.preprocessing.case import Placement

    request: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(request["threads"])
    logits = torch.from_numpy(np.load(request["scores"]))
    work = _work_of(request)
    z, y, x = work.shape
    labels = LabelScheme(labels=tuple(Label(name=str(value), value=value) for value in range(work.classes)))
    placement = Placement(
        original_shape=work.shape,
        orientation=None,
        turned_to=None,
        transpose=(0, 1, 2),
        crop=((0, z), (0, y), (0, x)),
        spacing_mm=work.spacing_mm,
        network_shape=work.network_shape,
        network_spacing_mm=(work.network_spacing_mm,) * 3,
    )
    geometry = Geometry(work.shape, work.spacing_mm, np.diag([*work.spacing_mm[::-1], 1.0]))
    begun, before = time.monotonic(), time.process_time()
    values = export([_slab_wise(logits)], labels=labels, placement=placement)
    write_labels(Path(request["output"]), values, geometry)
    spent = Spent(
        seconds=time.monotonic() - begun,
        processor_s=time.process_time() - before,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB,
    )
    sys.stdout.write("\n" + spent.model_dump_json() + "\n")


def _slab_wise(logits: "Tensor") -> "Scores":
    """Scores that come a few slices at a time in single precision, as they do from a network."""
    from autoseg.prediction.refining import Scores

    def slabs(box: "Box") -> Iterator["Tensor"]:
        for first in range(0, logits.shape[1], SLICES):
            yield logits[:, first : first + SLICES, box[0], box[1]].float()

    return Scores(slabs, (logits.shape[1], logits.shape[2], logits.shape[3]), (1, 1, 1))
