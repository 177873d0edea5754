"""Leaving a network's encoder as it is for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from autoseg.errors import TrainingError

ENCODER = "encoder"
_WRAPPERS = ("module.", "_orig_mod.")
"""What training on several devices and compiling put before the names of parameters."""


@contextmanager
def encoder_left(network: nn.Module, *, active: bool) -> Iterator[None]:
    """While `active`, the encoder gets no gradients, and the way back through it is not computed.

    Optimisers pass over parameters without a gradient, weight decay included. Statistics of batch norm go on to follow the
    data. Raises TrainingError for a network without a part called `encoder`.
    """
    inside = [parameter for name, parameter in network.named_parameters() if is_of_encoder(name)] if active else []
    if active and not inside:
        raise TrainingError(
            f"{type(network).__name__} has no part called {ENCODER!r} that could be left as it is. "
            "Use --set training.freeze_encoder_epochs=0"
        )
    learning = [parameter for parameter in inside if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def is_of_encoder(name: str) -> bool:
    """Whether a parameter of this name belongs to the encoder."""
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name.startswith(f"{ENCODER}.")
