"""Weights of nnU-Net's networks under the names they have here."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from autoseg.errors import ArtefactError, listed
from autoseg.planning.plan import Configuration, Plan
from autoseg.training.model_folder import network_of

_DOUBLES = re.compile(r"(^decoder\.encoder\.)|(\.all_modules\.)")
"""nnU-Net saves these tensors a second time under the names of modules that share them."""

_RENAMED = (
    (re.compile(r"^encoder\.stem\.convs\.0\."), "encoder.stem."),
    (re.compile(r"^encoder\.stages\.(\d+)\.0\.convs\."), r"encoder.stages.\1.convs."),
    (re.compile(r"^encoder\.stages\.(\d+)\.blocks\."), r"encoder.stages.\1."),
    (re.compile(r"^decoder\.seg_layers\."), "decoder.heads."),
)
SHOWN = 3


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under this package's names, each once, numbers in float32."""
    found = {}
    for name, tensor in weights.items():
        if _DOUBLES.search(name):
            continue
        new = name
        for pattern, replacement in _RENAMED:
            new = pattern.sub(replacement, new)
        found[new] = tensor.float() if tensor.is_floating_point() else tensor
    return found


def uses_batch_norm(weights: Mapping[str, Tensor]) -> bool:
    """Whether the tensors hold running statistics, which only batch normalisation keeps."""
    return any(name.endswith(".running_mean") for name in weights)


def check_fit(shapes: Mapping[str, tuple[int, ...]], *, plan: Plan, configuration: Configuration, path: Path) -> None:
    """Raise ArtefactError unless tensors of these `shapes` are those of the network that `configuration` describes.

    The network is laid out without memory, so that a plan from elsewhere can ask for none.
    """
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in network_of(plan, configuration).state_dict().items()}
    _check_channels(shapes, expected, plan=plan, path=path)
    wrong = [
        f"{name}: {_text(shapes.get(name))}, expected {_text(expected.get(name))}"
        for name in (*expected, *(name for name in shapes if name not in expected))
        if shapes.get(name) != expected.get(name)
    ]
    if wrong:
        differences = listed(wrong, most=SHOWN, between="; ")
        raise ArtefactError(
            f"{path}: these weights belong to another network than the plan describes ({differences}). "
            "Only plain and residual-encoder U-Nets are known; if a trainer changed the network, it cannot be taken over."
        )


def _check_channels(
    shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], *, plan: Plan, path: Path
) -> None:
    first, last = next(iter(expected)), f"decoder.heads.{_heads(expected) - 1}.weight"
    for name, axis, what, named in (
        (first, 1, "input channels", ", ".join(plan.channels)),
        (last, 0, "outputs", ", ".join(plan.labels.output_names)),
    ):
        found, wanted = shapes.get(name), expected.get(name)
        if found and wanted and found[axis] != wanted[axis]:
            raise ArtefactError(
                f"{path}: the network has {found[axis]} {what}, dataset.json asks for {wanted[axis]} ({named}). "
                "Put the dataset.json beside plans.json that the model was trained with."
            )


def _heads(expected: Mapping[str, tuple[int, ...]]) -> int:
    return sum(name.startswith("decoder.heads.") and name.endswith(".weight") for name in expected)


def _text(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else " x ".join(map(str, shape)) or "a number"
