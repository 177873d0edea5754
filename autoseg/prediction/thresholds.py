"""Probabilities above which regions are painted, where that is not one half."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from autoseg.data.labels import LabelScheme
from autoseg.errors import PredictionError, unknown_name
from autoseg.prediction.postprocessing import Rule
from autoseg.prediction.refining import Scores
from autoseg.prediction.sums import Box

Thresholds = tuple[float, ...]
"""A probability for each region, in the order of the network's outputs; empty: one half for all."""


def thresholds_of(rules: Sequence[Rule], labels: LabelScheme) -> Thresholds:
    """The thresholds that the rules of the kind "threshold" ask for.

    Raises UnknownNameError for a region that the scheme does not have and PredictionError where labels compete: there the
    most likely one wins, whatever its probability.
    """
    wanted = {rule.structure: rule.probability for rule in rules if rule.kind == "threshold"}
    if not wanted:
        return ()
    if labels.target != "regions":
        raise PredictionError(f"threshold of {next(iter(wanted))}: only regions have one, and the model has labels.")
    names = [region.name for region in labels.regions]
    for name in wanted:
        if name not in names:
            raise unknown_name("region", name, names)
    return tuple(wanted.get(name, 0.5) for name in names)


def from_threshold(logits: Tensor, thresholds: Thresholds) -> Tensor:
    """The logits (region, ...) moved so that 0 is where a region's probability is its threshold."""
    return logits - _column(torch.logit(torch.tensor(thresholds)), logits) if thresholds else logits


def from_half(probabilities: Tensor, thresholds: Thresholds, *, one: int) -> Tensor:
    """Probabilities (region, ...) as whole numbers of 1 / `one`, moved so that a half is where their threshold was."""
    if not thresholds:
        return probabilities
    return probabilities - _column(torch.round((torch.tensor(thresholds) - 0.5) * one).int(), probabilities)


def moved(scores: Scores, thresholds: Thresholds) -> Scores:
    """The same scores, decided at `thresholds` by whoever decides at 0: what is interpolated moves with its neighbours."""
    if not thresholds:
        return scores

    def slabs(box: Box) -> Iterator[Tensor]:
        for slab in scores.slabs(box):
            yield from_threshold(slab, thresholds)

    return replace(scores, slabs=slabs)


def _column(values: Tensor, beside: Tensor) -> Tensor:
    return values.reshape([-1] + [1] * (beside.dim() - 1)).to(beside.device)
