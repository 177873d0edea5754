"""Leaving a network's encoder as it is for a while."""

from torch import nn

from autoseg.errors import TrainingError

ENCODER = "encoder"
_WRAPPERS = ("module.", "_orig_mod.")
"""What training on several devices and compiling put before the names of parameters."""


def leave_encoder(network: nn.Module) -> None:
    """Forget the gradients of the encoder: optimisers pass over parameters without one, weight decay included.

    Statistics of batch norm go on to follow the data. Raises TrainingError for a network without a part called `encoder`.
    """
    inside = [parameter for name, parameter in network.named_parameters() if is_of_encoder(name)]
    if not inside:
        raise TrainingError(
            f"{type(network).__name__} has no part called {ENCODER!r} that could be left as it is. "
            "Use --set training.freeze_encoder_epochs=0"
        )
    for parameter in inside:
        parameter.grad = None


def is_of_encoder(name: str) -> bool:
    """Whether a parameter of this name belongs to the encoder."""
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name.startswith(f"{ENCODER}.")
