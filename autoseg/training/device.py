"""Which device a network runs on, and in which number type it is fast there."""

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from autoseg.errors import TrainingError, unknown_name

CPU_INFO = Path("/proc/cpuinfo")

FAST_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Flags in /proc/cpuinfo of processors that multiply bf16 natively; elsewhere bf16 is slower than float32."""


@dataclass(frozen=True)
class Precision:
    """The number type of convolutions; `scaled` losses keep fp16 gradients from vanishing.

    With "int8", which is for predictions alone, what is not in whole numbers is in bf16.
    """

    name: Literal["fp32", "bf16", "fp16", "int8"]

    @property
    def scaled(self) -> bool:
        """Whether the loss has to be scaled."""
        return self.name == "fp16"

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """A context in which a network computes in this precision on `device`."""
        if self.name == "fp32":
            return nullcontext()
        dtype = torch.float16 if self.name == "fp16" else torch.bfloat16
        return torch.autocast(device.type, dtype=dtype)


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`: "cpu", "cuda", "cuda:1", "mps"; "auto" takes a GPU where there is one.

    Raises UnknownNameError for another name, and TrainingError for a device that this machine does not have and for a torch
    that must not be used.
    """
    refuse_slow_torch(torch.__version__)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise unknown_name("device", name, ("auto", "cpu", "cuda", "cuda:1", "mps"))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise TrainingError("device mps: this machine has none. Use --device cpu.")
    if kind == "cuda":
        _check_cuda(name, int(index or 0))
    return torch.device(name)


def _check_cuda(name: str, index: int) -> None:
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= found:
        raise TrainingError(f"device {name}: this machine has {found} CUDA devices. Use --device cpu or a lower number.")


def refuse_slow_torch(version: str) -> None:
    """Raise TrainingError, with the reason, for a version of torch whose 3-D convolutions are broken.

    On any device, as the installation asks for another version on any: a model is not to depend on who has overruled that.
    """
    if version.startswith("2.9."):
        raise TrainingError(
            f"torch {version} is not used: on CUDA it runs 3-D convolutions in mixed precision about four times slower and "
            "with many times the memory (pytorch issue 166122). Install torch 2.8, or 2.10 and later: "
            "pip install 'torch>=2.6,!=2.9.*'"
        )


def choose_precision(
    setting: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device, *, cpu_info: Path = CPU_INFO
) -> Precision:
    """The precision to train with on `device`; "auto" takes the fastest one that is known to learn as well.

    That is bf16 on processors that multiply it natively and on CUDA from compute capability 8.0 on, fp16 on CUDA from
    7.0 on, float32 elsewhere. Raises TrainingError for fp16 off CUDA.
    """
    if setting == "fp16" and device.type != "cuda":
        raise TrainingError(f"precision fp16 needs a CUDA device, found {device.type}. Use --set training.precision=auto.")
    if setting != "auto":
        return Precision(setting)
    if device.type == "cuda":
        # torch.cuda.is_bf16_supported() is also true where bf16 is only emulated.
        major, _ = torch.cuda.get_device_capability(device)
        return Precision("bf16" if major >= 8 else "fp16" if major >= 7 else "fp32")
    if device.type == "cpu" and processor_flags(cpu_info) & FAST_BF16_FLAGS:
        return Precision("bf16")
    return Precision("fp32")


def memory_bytes(device: torch.device) -> int | None:
    """The most memory a training has taken so far: of the GPU, else of this process; None where that is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def processor_flags(cpu_info: Path = CPU_INFO) -> frozenset[str]:
    """What the processor says it can do, as named in /proc/cpuinfo; none where there is no such file."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))
