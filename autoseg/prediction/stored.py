"""Predicting cases as training has stored them, without reading and preparing their images again."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from autoseg.data.labels import LabelScheme
from autoseg.planning.plan import Configuration, Plan
from autoseg.prediction.ensemble import Member
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.previous_stage import with_masks
from autoseg.prediction.settings import Settings
from autoseg.preprocessing.case import Prepared
from autoseg.preprocessing.store import StoredCase
from autoseg.training.pseudo_dice import dice_of, mean_of, overlap_counts


def prepared_from(case: StoredCase, *, labels: LabelScheme) -> Prepared:
    """The case as the networks of its configuration alone expect it: with masks of what a previous stage found, if any.

    It is for members without a previous stage of their own, which would find it anew.
    """
    image = np.array(case.image, dtype=np.float32)
    if case.previous is not None:
        image = with_masks(image, np.array(case.previous), labels=labels).numpy()
    return Prepared(image, None, case.placement)


def whole_case_dice(
    network: nn.Module,
    cases: Sequence[StoredCase],
    *,
    plan: Plan,
    configuration: Configuration,
    device: torch.device,
    settings: Settings | None = None,
) -> tuple[float | None, ...]:
    """Dice of each foreground output on the network's own grid, the mean over `cases` in which it is defined.

    The sliding window is that of prediction, by default without mirroring. `network` keeps its weights and mode.
    """
    supervised = network.deep_supervision
    network.deep_supervision = False  # type: ignore[assignment]
    try:
        predictor = Predictor(  # may predict with a copy, so only now
            [Member(plan, configuration, (network,))], settings=settings or Settings(device=str(device), mirroring="none")
        )
        per_case = [_dice(predictor, case, labels=plan.labels) for case in cases]
    finally:
        network.deep_supervision = supervised
    return tuple(mean_of(values) for values in zip(*per_case, strict=True))


def _dice(predictor: Predictor, case: StoredCase, *, labels: LabelScheme) -> tuple[float | None, ...]:
    (scores,) = predictor.scores([prepared_from(case, labels=labels)])
    _, rows, columns = scores.shape
    counts = torch.zeros(3, len(labels.output_names), dtype=torch.int64)
    first = 0
    for slab in scores.slabs((slice(0, rows), slice(0, columns))):
        span = slice(first, first + slab.shape[1])
        target = torch.from_numpy(np.array(case.classes[span])).to(slab.device).clamp_min(0)
        counts += overlap_counts(slab[None], target[None], labels).cpu()
        first = span.stop
    return dice_of(counts)
