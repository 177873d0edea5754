"""What this machine does in a second, beside machines that were measured before, and what limits it."""

import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pydantic import BaseModel

from autoseg.artefacts import FROZEN, written_whole
from autoseg.benchmark.halving import halving_unet
from autoseg.benchmark.timing import Machine, this_machine
from autoseg.data.labels import Label, LabelScheme
from autoseg.losses import build_loss
from autoseg.networks.unet import build_network
from autoseg.planning.plan import TrainingSettings
from autoseg.preprocessing.resampling import resample_image
from autoseg.progress import SILENT, Progress
from autoseg.training.allocator import kept_memory
from autoseg.training.device import Precision, choose_device, choose_precision
from autoseg.training.state import new_state
from autoseg.training.variants import usual

PATCH, BATCH, CHANNELS, CLASSES = (64, 64, 64), 2, 4, 4
FEATURES = (32, 64, 128, 256, 320)
VOLUME = (4, 138, 170, 138)
"""A cropped case of brain tumour MRI: channels, then voxels."""

REPEATS = 4
SLOW = 0.5
"""What reaches less than this share of a reference machine's speed is called slow."""


class Speeds(BaseModel):
    """How often a second: training steps, patches predicted, patches read from disk, volumes refined for export.

    And 10^9 floating point operations a second of a large matrix product.
    """

    model_config = FROZEN
    training_steps: float
    predicted_patches: float
    loaded_patches: float
    exported_volumes: float
    gflops: float


class Reference(BaseModel):
    """A machine and what was measured on it.

    `measured` is the day (year-month-day) and `load` how many processes were ready to run when it began, None where that is
    not known: with more than cores the machine was busy with other work.
    """

    model_config = FROZEN
    name: str
    machine: Machine
    precision: str
    autoseg: str
    measured: str
    load: float | None
    speeds: Speeds


class HardwareReport(BaseModel):
    """A machine beside the recorded ones; `limits` says in words what is slow."""

    model_config = FROZEN
    machine: Machine
    precision: str
    load: float | None
    speeds: Speeds
    references: tuple[Reference, ...]
    limits: tuple[str, ...]


def measure_hardware(
    *, device: str = "auto", threads: int | None = None, folder: Path | None = None, progress: Progress = SILENT
) -> HardwareReport:
    """Measure this machine, in about a minute on a processor; patches are read from a file in `folder`."""
    if threads is not None:
        torch.set_num_threads(threads)
    where = choose_device(device)
    precision = choose_precision("auto", where)
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    measured: dict[str, Callable[[], float]] = {
        "training_steps": lambda: 1 / _training_s(where, precision),
        "predicted_patches": lambda: 1 / _prediction_s(where, precision),
        "loaded_patches": lambda: 1 / _loading_s(folder),
        "exported_volumes": lambda: 1 / _export_s(),
        "gflops": lambda: _gflops(where, precision),
    }
    with kept_memory():
        names = progress.track(measured, description="measuring", total=len(measured))
        speeds = Speeds(**{name: measured[name]() for name in names})
    machine = this_machine(device=str(where), threads=torch.get_num_threads())
    references = recorded()
    return HardwareReport(
        machine=machine,
        precision=precision.name,
        load=load,
        speeds=speeds,
        references=references,
        limits=limits_of(speeds, references, waiting_steps=BATCH * speeds.training_steps / speeds.loaded_patches),
    )


def record(found: HardwareReport, file: Path, *, name: str) -> None:
    """Add a measured machine to a file of references, in place of one of the same name."""
    entry = Reference(
        name=name,
        machine=found.machine,
        precision=found.precision,
        autoseg=version("autoseg"),
        measured=date.today().isoformat(),
        load=found.load,
        speeds=found.speeds,
    )
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    entries = [*(one for one in before if one["name"] != name), entry.model_dump(mode="json")]
    with written_whole(file) as out:
        out.write((json.dumps(entries, indent=1) + "\n").encode())


def recorded() -> tuple[Reference, ...]:
    """Machines that were measured before; each stands there as it was measured, none is estimated."""
    text = files("autoseg.benchmark").joinpath("reference_machines.json").read_text(encoding="utf-8")
    return tuple(Reference.model_validate_json(json.dumps(entry)) for entry in json.loads(text))


def limits_of(speeds: Speeds, references: tuple[Reference, ...], *, waiting_steps: float) -> tuple[str, ...]:
    """What is slow beside a reference; `waiting_steps` is the share of a step that its patches take to be read."""
    found = [
        f"{name.replace('_', ' ')}: {mine:.3g} a second, {mine / theirs:.0%} of {reference.name}"
        for reference in references
        for name, mine, theirs in (
            (field, getattr(speeds, field), getattr(reference.speeds, field)) for field in Speeds.model_fields
        )
        if mine < SLOW * theirs
    ]
    if waiting_steps > 0.1:
        found.append(f"reading patches takes {waiting_steps:.0%} of a step: loading limits training")
    return tuple(found) or ("nothing is slow beside the recorded machines; training is limited by its convolutions",)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The median of a few runs, after one to warm up."""
    taken = []
    for _ in range(1 + REPEATS):
        begun = time.monotonic()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.monotonic() - begun)
    return median(taken[1:])


def _network(*, supervised: bool) -> torch.nn.Module:
    spec = halving_unet(FEATURES, blocks=2)
    return build_network(spec, dimensions=3, in_channels=CHANNELS, out_channels=CLASSES, deep_supervision=supervised)


def _training_s(device: torch.device, precision: Precision) -> float:
    settings = TrainingSettings()
    network = _network(supervised=True)
    state = new_state(network, settings=settings, device=device, precision=precision, variant=usual(device, precision))
    labels = LabelScheme(labels=tuple(Label(name=str(value), value=value) for value in range(CLASSES)))
    loss = build_loss(
        settings.loss, labels=labels, batch_dice=False, deep_supervision_levels=len(FEATURES) - 1, settings=settings
    )
    image = torch.randn(BATCH, CHANNELS, *PATCH, device=device)
    target = torch.randint(CLASSES, (BATCH, *PATCH), device=device)

    def step() -> None:
        state.optimiser.zero_grad(set_to_none=True)
        with precision.autocast(device):
            logits = network(image)
        state.scaler.scale(loss(logits, target)).backward()  # type: ignore[no-untyped-call]
        state.scaler.step(state.optimiser)
        state.scaler.update()

    return _seconds(step, device)


def _prediction_s(device: torch.device, precision: Precision) -> float:
    network = _network(supervised=False).to(device).eval()
    image = torch.randn(1, CHANNELS, *PATCH, device=device)

    def forward() -> None:
        with torch.inference_mode(), precision.autocast(device):
            network(image)

    return _seconds(forward, device)


def _loading_s(folder: Path | None) -> float:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        file = Path(place) / "volume.npy"
        np.save(file, np.zeros(VOLUME, dtype=np.float16))
        mapped = np.load(file, mmap_mode="r")

        def read() -> None:
            corner = [int(rng.integers(size - edge + 1)) for size, edge in zip(VOLUME[1:], PATCH, strict=True)]
            box = tuple(slice(first, first + edge) for first, edge in zip(corner, PATCH, strict=True))
            whole = (slice(None), *box)
            torch.from_numpy(np.array(mapped[whole])).float()

        return _seconds(read, torch.device("cpu"))


def _export_s() -> float:
    logits = np.random.default_rng(0).standard_normal(VOLUME, dtype=np.float32)
    _, z, y, x = VOLUME
    finer = (round(z * 1.2), round(y * 1.2), round(x * 1.2))
    spacing = (1.0, 1.0, 1.0)

    def refine() -> None:
        resample_image(logits, finer, current_mm=spacing, new_mm=(1 / 1.2, 1 / 1.2, 1 / 1.2), order=1)

    return _seconds(refine, torch.device("cpu"))


def _gflops(device: torch.device, precision: Precision) -> float:
    size = 2048
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision.name]
    first, second = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    return 2 * size**3 / 1e9 / _seconds(lambda: first @ second, device)
