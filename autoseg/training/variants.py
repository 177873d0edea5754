"""Ways to compute the very same step: memory layout, fused optimiser, compilation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pydantic import BaseModel
from torch import nn

from autoseg.artefacts import FROZEN
from autoseg.errors import unknown_name
from autoseg.networks.norms import LAYOUTS
from autoseg.training.device import Precision


class Variant(BaseModel):
    """How a step is computed; none of it changes what is computed but for rounding."""

    model_config = FROZEN
    channels_last: bool = False
    fused: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        return next(name for name, variant in VARIANTS.items() if variant == self)


VARIANTS: dict[str, Variant] = {
    "plain": Variant(),
    "channels_last": Variant(channels_last=True),
    "fused": Variant(fused=True),
    "channels_last_fused": Variant(channels_last=True, fused=True),
    "compiled": Variant(compiled=True),
    "compiled_fused": Variant(compiled=True, fused=True),
    "compiled_channels_last": Variant(compiled=True, channels_last=True),
    "compiled_channels_last_fused": Variant(compiled=True, channels_last=True, fused=True),
}

PLAIN = VARIANTS["plain"]


def variant_called(name: str) -> Variant | None:
    """The variant that `training.variant` names; None for "auto". Raises UnknownNameError for another name."""
    if name == "auto":
        return None
    if name not in VARIANTS:
        raise unknown_name("training.variant", name, ("auto", *VARIANTS))
    return VARIANTS[name]


def usual(device: torch.device, precision: Precision) -> Variant:
    """What is taken without trying.

    Processors with bf16 convolve channels-last a fifth faster (measured: docs/decisions/0031-speed.md); instance norm on
    GPUs returns to the other layout, so that it would cost there.
    """
    return VARIANTS["channels_last" if device.type == "cpu" and precision.name == "bf16" else "plain"]


def arranged(network: nn.Module, variant: Variant) -> nn.Module:
    """The `network`, changed in place to compute in the variant; names and values of its weights stay."""
    if variant.channels_last:
        for parameter in network.parameters():
            layout = LAYOUTS.get(parameter.dim())
            if layout is not None:
                parameter.data = parameter.data.contiguous(memory_format=layout)
    if variant.compiled:
        # Every batch has the same shape; graphs for any shape are slower, and of such networks some cannot be made.
        network.compile(dynamic=False)
    return network


@contextmanager
def uncompiled(network: nn.Module) -> Iterator[None]:
    """Inside, `network` computes step by step: what is computed a few times is not worth compiling anew."""
    compiled = network._compiled_call_impl
    network._compiled_call_impl = None
    try:
        yield
    finally:
        network._compiled_call_impl = compiled
