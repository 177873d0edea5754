"""Names that a plan may hold for parts that need torch, known here without importing it.

The tables themselves lie with the parts; a test keeps these names equal to theirs.
"""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Literal

from autoseg.errors import PlanError, UnknownNameError, unknown_name

Target = Literal["labels", "regions"]

NETWORKS: tuple[str, ...] = ("plain_unet", "residual_unet", "isensee2017")
INITIALISATIONS: tuple[str, ...] = ("he_normal", "he_uniform", "xavier_normal", "xavier_uniform", "orthogonal")
LOSSES: Mapping[str, tuple[Target, ...]] = {
    "dice_ce": ("labels",),
    "dice_bce": ("regions",),
    "ce": ("labels",),
    "bce": ("regions",),
    "dice": ("labels", "regions"),
    "weighted_dice": ("labels", "regions"),
    "topk_ce": ("labels", "regions"),
    "dice_topk_ce": ("labels", "regions"),
    "focal": ("labels", "regions"),
    "dice_focal": ("labels", "regions"),
    "tversky": ("labels", "regions"),
    "tversky_ce": ("labels", "regions"),
}
"""Every loss, and what a plan may train on to use it."""
OPTIMISERS: tuple[str, ...] = ("sgd", "adam", "adamw")
SCHEDULES: tuple[str, ...] = ("poly", "cosine", "plateau", "constant", "decay_then_stop")
POLICIES: tuple[str, ...] = ("nnunet", "brats", "light", "none")

TRAINING_NAMES: Mapping[str, tuple[str, Iterable[str]]] = {
    "loss": ("loss", LOSSES),
    "optimiser": ("optimiser", OPTIMISERS),
    "schedule": ("schedule", SCHEDULES),
    "augmentation": ("augmentation policy", POLICIES),
}
"""For each training setting that is a name: what it names, and the names there are."""


def check_name(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise UnknownNameError unless `name` is known or a `package.module:function` whose package is installed.

    Nothing is imported, so that a function of one's own is only looked for; whether it is there shows when it is used.
    """
    if name in known:
        return
    if ":" not in name:
        raise unknown_name(kind, name, known)
    module, _, function = name.partition(":")
    parts = [*module.split("."), *function.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise UnknownNameError(f"{kind} {name!r}: expected package.module:function, for example my_package.parts:build.")
    if find_spec(parts[0]) is None:
        raise UnknownNameError(f"{kind} {name!r}: there is no module {parts[0]!r} on the Python path. Install it first.")


def check_loss(name: str, target: Target) -> None:
    """Raise PlanError for a loss that cannot be trained on this target; those of third parties say so themselves."""
    fitting = fitting_losses(target)
    if name in LOSSES and name not in fitting:
        trained = "classes" if target == "labels" else "regions"
        raise PlanError(f"loss {name!r} does not fit a plan that trains on {trained}. These do: {', '.join(fitting)}.")


def fitting_losses(target: Target) -> list[str]:
    """The losses that a plan which trains on `target` can use, the default first."""
    return [name for name, targets in LOSSES.items() if target in targets]
