"""Which post-processing rules help: tried out of fold, kept where they help cases they were not chosen on."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoseg.data.labels import LabelScheme
from autoseg.data.readers import read_labels
from autoseg.evaluation.scores import evaluate_case
from autoseg.parallel import map_cases
from autoseg.prediction.postprocessing import Rule, corrected
from autoseg.progress import SILENT, Progress
from autoseg.selection.selection import Correction

SMALLEST_ML = (0.05, 0.2, 0.5, 1.0)
"""Volumes below which a part or structure may be called noise; BraTS teams used about 0.2 to 1 ml for ET."""

Table = NDArray[np.float64]
Pair = tuple[str, Path, Path]
"""Case id, prediction, reference."""


def possible_rules(scheme: LabelScheme) -> list[Rule]:
    """The rules that are tried: for each region (or label) its largest part, smallest parts, and its replacement.

    A structure inside another is replaced by what the larger one has beside it, one inside none by background.
    """
    found = []
    for name, values in scheme.structures.items():
        found.append(Rule(kind="largest_component", structure=name))
        instead = _instead(values, scheme)
        for volume_ml in SMALLEST_ML:
            found.append(Rule(kind="minimum_component", structure=name, volume_ml=volume_ml))
            found.append(Rule(kind="replace_small", structure=name, volume_ml=volume_ml, value=instead))
    return found


def _instead(values: Sequence[int], scheme: LabelScheme) -> int:
    larger = [group for group in scheme.structures.values() if set(values) < set(group)]
    if not larger:
        return scheme.labels[0].value
    nearest = min(larger, key=len)
    return next(value for value in nearest if value not in values)


def choose_corrections(
    pairs: Sequence[Pair],
    scheme: LabelScheme,
    *,
    fold_of: Mapping[str, str],
    workers: int | None = None,
    progress: Progress = SILENT,
) -> list[Correction]:
    """One rule for each structure at most, the best on all cases, each kept only if cross-fitting confirms it.

    Rules are tried one structure after the other, on top of those kept before. Cross-fitted: in the cases of each fold the
    rule applied is the one that was best in the other folds' (or none). With one fold, halves of its cases stand in.
    """
    rules = possible_rules(scheme)
    parts = _parts([fold_of[id_] for id_, _, _ in pairs])
    kept: tuple[Rule, ...] = ()
    found = []
    for structure in dict.fromkeys(rule.structure for rule in rules):
        options = [kept, *((*kept, rule) for rule in rules if rule.structure == structure)]
        scores = _dice(pairs, options, scheme=scheme, workers=workers, progress=progress)
        best = _best(scores)
        if best == 0:
            continue
        before, after = _mean(scores[0]), _mean(scores[best])
        crossed = _mean(_cross_fitted(scores, parts))
        is_kept = crossed > before
        rule = options[best][-1]
        found.append(Correction(rule=rule, before=before, after=after, cross_fitted=crossed, kept=is_kept))
        if is_kept:
            kept = (*kept, rule)
    return found


def _parts(folds: Sequence[str]) -> NDArray[np.integer]:
    """The part of each case: its fold, or halves in turn where there is one fold."""
    names = sorted(set(folds))
    if len(names) == 1:
        return np.arange(len(folds)) % 2
    return np.array([names.index(fold) for fold in folds])


def _best(scores: Sequence[Table]) -> int:
    """The index of the highest mean; the first, which corrects nothing, in a tie."""
    return int(np.argmax([_mean(score) for score in scores]))


def _cross_fitted(scores: Sequence[Table], parts: NDArray[np.integer]) -> Table:
    mixed: Table = scores[0].copy()
    for part in np.unique(parts):
        inside = parts == part
        mixed[inside] = scores[_best([score[~inside] for score in scores])][inside]
    return mixed


def _mean(dice: Table) -> float:
    """The mean over structures of the mean over cases in which Dice is defined; 0 where it never is."""
    counted = (~np.isnan(dice)).sum(axis=0)
    means = np.nansum(dice, axis=0)[counted > 0] / counted[counted > 0]
    return float(means.mean()) if len(means) else 0.0


def _dice(
    pairs: Sequence[Pair],
    options: Sequence[tuple[Rule, ...]],
    *,
    scheme: LabelScheme,
    workers: int | None,
    progress: Progress,
) -> list[Table]:
    """Dice (case, structure) under each option; every case is read once."""
    rows = map_cases(
        partial(_case_dice, scheme=scheme, options=tuple(options)),
        pairs,
        name=_id,
        stage="trying corrections",
        workers=workers,
        progress=progress,
    )
    return [np.array([row[index] for row in rows]) for index in range(len(options))]


def _id(pair: Pair) -> str:
    return pair[0]


def _case_dice(pair: Pair, *, scheme: LabelScheme, options: Sequence[tuple[Rule, ...]]) -> list[list[float]]:
    case_id, prediction, reference = pair
    predicted, geometry = read_labels(prediction)
    truth, _ = read_labels(reference)
    found = []
    for rules in options:
        scores = evaluate_case(
            corrected(predicted, rules, scheme=scheme, spacing_mm=geometry.spacing_mm),
            truth,
            case_id=case_id,
            scheme=scheme,
            spacing_mm=geometry.spacing_mm,
            is_flat=geometry.is_flat,
            metrics=("dice",),
        )
        values = [one.metrics["dice"] for one in scores.structures.values()]
        found.append([np.nan if value is None else value for value in values])
    return found
