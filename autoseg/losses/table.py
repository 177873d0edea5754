"""The losses that can be chosen by name, and how one is built for a plan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from autoseg.data.labels import LabelScheme
from autoseg.errors import TrainingError
from autoseg.extend import resolve
from autoseg.losses import terms
from autoseg.losses.outputs import Exclusive, Overlapping, not_ignored
from autoseg.losses.supervision import DeepSupervision, supervision_weights
from autoseg.losses.terms import Term
from autoseg.planning.consistency import check_class_weights
from autoseg.planning.names import fitting_losses
from autoseg.planning.plan import TrainingSettings

LevelLoss = Callable[[Tensor, Tensor], Tensor]
"""The loss of one resolution: logits (B, channels, *grid) and classes (B, *grid) -> scalar."""


class LossBuilder(Protocol):
    """What LOSSES holds: a function that makes the loss of one resolution for a label scheme."""

    def __call__(self, labels: LabelScheme, *, batch_dice: bool, settings: TrainingSettings) -> LevelLoss:
        """The loss; with `batch_dice` overlaps are pooled over the batch before their ratio is taken."""
        ...


@dataclass(frozen=True)
class Sum:
    """The sum of `parts` over the classes or regions of a label scheme; voxels of the ignore class count in none."""

    parts: tuple[Term, ...]
    labels: LabelScheme
    batch_dice: bool
    settings: TrainingSettings
    weights: tuple[float, ...] | None

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, channels, *grid) for classes (B, *grid)."""
        kind = Overlapping if self.labels.target == "regions" else Exclusive
        outputs = kind(logits, target, self.labels, not_ignored(target, self.labels), self.weights)
        first, *others = (part(outputs, self.settings, self.batch_dice) for part in self.parts)
        return sum(others, start=first)


def _sum(name: str, *parts: Term) -> LossBuilder:
    def build(labels: LabelScheme, *, batch_dice: bool, settings: TrainingSettings) -> LevelLoss:
        fitting = fitting_losses(labels.target)
        if name not in fitting:
            ours, theirs = ("classes", "regions") if labels.target == "regions" else ("regions", "classes")
            raise TrainingError(
                f"loss {name!r} trains on {ours}, but this plan trains on {theirs}. Use one of {', '.join(fitting)}: "
                f"--set training.loss={fitting[0]}"
            )
        weights = checked_weights(labels, settings)
        return Sum(parts=parts, labels=labels, batch_dice=batch_dice, settings=settings, weights=weights)

    return build


# The cross entropy comes first: what it keeps is let go before the overlaps take most memory.
LOSSES: dict[str, LossBuilder] = {
    "dice_ce": _sum("dice_ce", terms.cross_entropy, terms.dice),
    "ce": _sum("ce", terms.cross_entropy),
    "dice_bce": _sum("dice_bce", terms.cross_entropy, terms.dice),
    "bce": _sum("bce", terms.cross_entropy),
    "dice": _sum("dice", terms.dice),
    "weighted_dice": _sum("weighted_dice", terms.dice),
    "topk_ce": _sum("topk_ce", terms.top_k_cross_entropy),
    "dice_topk_ce": _sum("dice_topk_ce", terms.top_k_cross_entropy, terms.dice),
    "focal": _sum("focal", terms.focal),
    "dice_focal": _sum("dice_focal", terms.focal, terms.dice),
    "tversky": _sum("tversky", terms.tversky),
    "tversky_ce": _sum("tversky_ce", terms.cross_entropy, terms.tversky),
}
"""What each may train on stands in `autoseg.planning.names`. `weighted_dice` is `dice` with weights by class, which a
training counts from the labels where none are given."""


def checked_weights(labels: LabelScheme, settings: TrainingSettings) -> tuple[float, ...] | None:
    """The class weights of `settings`, one per output channel; None where all are equal.

    Raises PlanError for another number of them, TrainingError when they have not been counted yet.
    """
    weights = settings.class_weights
    if weights is None:
        return None
    if isinstance(weights, str):
        raise TrainingError(
            f"training.class_weights: {weights} has not been counted in the labels yet; autoseg_train does it."
        )
    check_class_weights(weights, labels)
    return weights


def build_loss(
    name: str,
    *,
    labels: LabelScheme,
    batch_dice: bool,
    deep_supervision_levels: int,
    settings: TrainingSettings | None = None,
) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
    """The loss called `name` for networks with that many outputs; `settings` hold its numbers (None: the defaults).

    Maps a list of logits (B, channels, *grid), finest first, and classes (B, *patch) to a scalar. Raises UnknownNameError
    for an unknown name, TrainingError for a loss over classes where regions are the target, or the other way round.
    """
    builder: LossBuilder = resolve("loss", name, LOSSES)
    level = builder(labels, batch_dice=batch_dice, settings=settings or TrainingSettings())
    return DeepSupervision(loss=level, weights=supervision_weights(deep_supervision_levels))
