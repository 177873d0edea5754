"""Which GPUs this machine has, and how much memory a plan is made for."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from autoseg.errors import PlanError, unknown_name
from autoseg.planning.memory import GIB
from autoseg.planning.plan import Configuration, Plan
from autoseg.planning.presets import PRESETS

MIB = 2**20
ANSWER_S = 20
"""Seconds that the driver may take to answer; it is slow where no process keeps it awake."""


@dataclass(frozen=True)
class Gpu:
    """A GPU that programs of this user may use."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Target:
    """The memory a plan is made for, that of the smallest GPU in sight if it must fit there, and why, in words."""

    gpu_memory_gb: float
    device_bytes: int | None
    because: str


def visible_gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves, as the driver tells; none where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=ANSWER_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return listed_gpus(answer, chosen=os.environ.get("CUDA_VISIBLE_DEVICES"))


def listed_gpus(answer: str, *, chosen: str | None) -> tuple[Gpu, ...]:
    """The GPUs in an answer of nvidia-smi (index, uuid, name, MiB), as far as `chosen` names them by index or uuid."""
    found = []
    for line in answer.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 4 or not fields[3].isdigit():
            continue
        index, uuid, name, mebibytes = fields
        wanted = chosen is None or any(index == one or (one and uuid.startswith(one)) for one in chosen.split(","))
        if wanted:
            found.append(Gpu(name=name, bytes=int(mebibytes) * MIB))
    return tuple(found)


def target(preset: str, *, asked: float | Literal["auto"] | None, gpus: Sequence[Gpu]) -> Target:
    """What to plan for: by default the preset's own memory, capped by the smallest of `gpus`; "auto" takes all of that.

    A number that is asked for is taken, even if it is more than there is. Raises PlanError for "auto" without a GPU.
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    own = PRESETS[preset].reference_gb
    smallest = min(gpus, key=lambda gpu: gpu.bytes, default=None)
    if smallest is None:
        if asked == "auto":
            raise PlanError(
                "--gpu-memory auto: no GPU is in sight (nvidia-smi is missing or lists none). Name the memory in GB, for "
                f"example --gpu-memory {own:g}, or leave the option out to plan for {own:g} GB."
            )
        if asked is None:
            return Target(own, None, f"what preset {preset} is made for; no GPU is in sight")
        return Target(asked, None, "asked for; no GPU is in sight")
    # A card of 8 GB reports a little less; plans for it shall equal those made elsewhere.
    there = max(float(round(smallest.bytes / GIB)), 1.0)
    card = f"{smallest.name} with {smallest.bytes / GIB:.1f} GB"
    if asked == "auto":
        return Target(there, smallest.bytes, f"all of the smallest GPU in sight ({card})")
    if asked is not None:
        fits = asked <= there
        return Target(
            asked, smallest.bytes if fits else None, f"asked for; {'' if fits else 'more than '}{card} is in sight"
        )
    if there < own:
        return Target(
            there, smallest.bytes, f"the smallest GPU in sight ({card}) has less than the {own:g} GB of preset {preset}"
        )
    return Target(own, smallest.bytes, f"what preset {preset} is made for; {card} is in sight")


def size_changes(before: Plan, after: Plan) -> list[str]:
    """How patches and batches of one plan differ from another's, a line for each configuration that differs."""
    return [
        f"{name}: {_sizes(before.configurations, name)} -> {_sizes(after.configurations, name)}"
        for name in dict.fromkeys((*before.configurations, *after.configurations))
        if _sizes(before.configurations, name) != _sizes(after.configurations, name)
    ]


def _sizes(configurations: Mapping[str, Configuration], name: str) -> str:
    if name not in configurations:
        return "none"
    one = configurations[name]
    return f"patch {' x '.join(map(str, one.patch_size))}, batch {one.batch_size}"
