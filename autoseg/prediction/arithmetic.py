"""In which numbers networks compute a prediction, and the copies of them that do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from autoseg.errors import PredictionError
from autoseg.networks.half import half_copy
from autoseg.networks.int8 import int8_copy
from autoseg.prediction.ensemble import Member
from autoseg.prediction.settings import Settings
from autoseg.training.device import CPU_INFO, Precision, choose_precision, processor_flags

FAST_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Flags in /proc/cpuinfo of processors that add up products of eight bits in 32; others overflow in 16 on the way."""

COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {"bf16": half_copy, "int8": int8_copy}
"""What a processor predicts with, by the name of a precision; where none stands here, the network itself."""


def choose_arithmetic(settings: Settings, device: torch.device, *, cpu_info: Path = CPU_INFO) -> Precision:
    """The precision that `settings` ask for on `device`. Raises PredictionError where it cannot be had there."""
    if settings.precision == "fp16" and device.type != "cuda":
        raise PredictionError(f"--precision fp16 needs a CUDA device, found {device.type}. Use --precision auto.")
    if settings.precision != "int8":
        return choose_precision(settings.precision, device)
    if device.type != "cpu":
        raise PredictionError(f"--precision int8 is for processors, found device {device}. Use --precision auto.")
    if not processor_flags(cpu_info) & FAST_INT8_FLAGS or not hasattr(torch.ops.onednn, "qconv_pointwise"):
        raise PredictionError(
            f"--precision int8 needs a processor with one of {', '.join(sorted(FAST_INT8_FLAGS))} and a torch with oneDNN; "
            f"found neither or one of them only (torch {torch.__version__}). Use --precision auto."
        )
    return Precision("int8")


def made_ready(member: Member, precision: Precision, device: torch.device) -> Member:
    """The member with its networks on `device`, for prediction alone; those of a processor are copies that suit it.

    The networks it came with may be trained further. Raises PredictionError for a network that `int8_copy` does not know.
    """
    for network in member.networks:
        network.to(device).eval()
    copied = COPIES.get(precision.name) if device.type == "cpu" else None
    networks = member.networks if copied is None else tuple(copied(network) for network in member.networks)
    if precision.name == "int8" and any(one is other for one, other in zip(networks, member.networks, strict=True)):
        raise PredictionError(
            f"--precision int8 knows plain and residual U-Nets; {member.configuration.name} of {member.plan.dataset} is "
            f"{member.configuration.network.kind}. Use --precision auto."
        )
    previous = None if member.previous is None else made_ready(member.previous, precision, device)
    return replace(member, networks=networks, previous=previous)
