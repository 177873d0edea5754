"""The mean of members' probabilities: the same, bit for bit, in whichever order the members come."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from autoseg.errors import PredictionError, number_of

ONE = 2**30
"""The whole number that stands for a probability of 1. Sums of whole numbers know no order, those of floats do."""


def shares(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """What each of `count` members contributes: the `weights` divided by their sum, all the same without weights.

    Raises PredictionError for another number of weights, and for weights that are not above 0.
    """
    given = (1.0,) * count if weights is None else tuple(weights)
    if len(given) != count:
        listed = " ".join(f"{weight:g}" for weight in given)
        raise PredictionError(
            f"--weights {listed}: {number_of(len(given), 'weight')} for {number_of(count, 'member')}. Give one for each, "
            "in their order."
        )
    for weight in given:
        if not (math.isfinite(weight) and weight > 0):
            raise PredictionError(
                f"--weights: found {weight:g}, expected numbers above 0. A member that is not to count is left out."
            )
    total = math.fsum(given)  # rounded once, so that it does not depend on the order either
    return tuple(weight / total for weight in given)


def agreed(parts: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The weighted mean of values between 0 and 1, as whole numbers (int32) of 1 / ONE.

    Every addend is rounded to a multiple of 1 / ONE, which is 60 times finer than float32 near 1.
    """
    total = torch.zeros(parts[0].shape, dtype=torch.int32, device=parts[0].device)
    for part, share in zip(parts, shares, strict=True):
        total += torch.round(part * (share * ONE)).int()
    return total


def as_probabilities(whole: Tensor) -> Tensor:
    """The float32 numbers that `agreed` whole numbers stand for."""
    return whole.float() / ONE
