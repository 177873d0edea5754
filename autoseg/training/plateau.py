"""What follows from validation losses that rest: a lower learning rate, and the end of a training.

All of it is counted anew from the history, which is in every checkpoint: a resumed training goes on as it would have.
"""

import math
from collections.abc import Sequence

from autoseg.errors import number_of
from autoseg.planning.plan import TrainingSettings

BETTER_BY = 1e-4
"""Share by which a loss must be lower than the best one to count as better; less is noise."""


def resting(losses: Sequence[float | None]) -> list[int]:
    """For each epoch, how many there have been since the best loss, itself included; one without a loss is no better."""
    best, found = math.inf, list[int]()
    for loss in losses:
        is_better = loss is not None and (best == math.inf or loss < best - BETTER_BY * abs(best))
        if loss is not None and is_better:
            best = loss
        found.append(0 if is_better else (found[-1] if found else 0) + 1)
    return found


def falls(losses: Sequence[float | None], *, patience: int) -> int:
    """How often a rate has fallen that does so after every `patience` epochs without a better loss."""
    return sum(epochs > 0 and epochs % patience == 0 for epochs in resting(losses))


def decayed_to(settings: TrainingSettings, losses: Sequence[float | None]) -> float:
    """The share of the rate that the schedule decay_then_stop leaves after these epochs: 1 until they rest, then less.

    Once begun the decay goes on whatever the losses do: a falling rate is what makes them better.
    """
    began = next((n for n, rested in enumerate(resting(losses), start=1) if rested >= settings.plateau_patience), None)
    if began is None:
        return 1.0
    return max(0.0, 1 - (len(losses) - began + 1) / (_decay_epochs(settings) + 1))


def _decay_epochs(settings: TrainingSettings) -> int:
    return settings.plateau_patience if settings.stop_patience is None else settings.stop_patience


def why_ended(settings: TrainingSettings, losses: Sequence[float | None]) -> str | None:
    """Why a training with these validation losses ends before its time; None where it goes on."""
    if settings.schedule == "decay_then_stop":
        if decayed_to(settings, losses) > 0:
            return None
        waited, epochs = settings.plateau_patience, _decay_epochs(settings)
        return (
            f"no better validation loss in {number_of(waited, 'epoch')}, and the learning rate was brought to zero in "
            f"{epochs} more"
        )
    rested = resting(losses)
    if settings.stop_patience is not None and rested and rested[-1] >= settings.stop_patience:
        return f"no better validation loss in {number_of(rested[-1], 'epoch')}"
    if settings.schedule == "plateau" and settings.stop_at_floor:
        fallen = falls(losses, patience=settings.plateau_patience)
        if fallen > falls_to_floor(settings):
            return f"the learning rate can fall no more ({settings.plateau_floor:g})"
    return None


def falls_to_floor(settings: TrainingSettings) -> int:
    """After how many falls the learning rate of a plateau schedule is at its floor."""
    ratio = settings.plateau_floor / settings.learning_rate
    # Rounding must not ask for one fall more: 0.1 * 0.1 is not quite 0.01.
    return max(0, math.ceil(math.log(ratio) / math.log(settings.plateau_factor) - 1e-9))
