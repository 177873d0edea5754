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
from autoseg.prediction.thresholds import thresholds_of
from autoseg.progress import SILENT, Progress
from autoseg.selection.region_shares import STEPS, Steps, read_steps
from autoseg.selection.selection import Correction

SMALLEST_ML = (0.05, 0.2, 0.5, 1.0)
"""Volumes below which a part or structure may be called noise; BraTS teams used about 0.2 to 1 ml for ET."""

THRESHOLDS = (0.2, 0.3, 0.4, 0.6, 0.7, 0.8)
"""Probabilities above which a region is painted, tried instead of one half: multiples of 1 / STEPS."""

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


def possible_thresholds(scheme: LabelScheme) -> list[Rule]:
    """The thresholds that are tried for each region; none where labels compete."""
    if scheme.target != "regions":
        return []
    return [
        Rule(kind="threshold", structure=region.name, probability=probability)
        for region in scheme.regions
        for probability in THRESHOLDS
    ]


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
    shares: Mapping[str, Path] | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> list[Correction]:
    """One threshold and one rule for each structure at most, the best on all cases, kept if cross-fitting confirms it.

    Thresholds are tried where `shares` has a file of `region_shares` for every case, and rules on the label maps that come
    of those kept: one structure after the other, on top of what was kept before. Cross-fitted: in the cases of each fold
    the rule applied is the one that was best in the other folds' (or none). With one fold, halves of its cases stand in.
    """
    rules = [*(possible_thresholds(scheme) if shares else []), *possible_rules(scheme)]
    parts = _parts([fold_of[id_] for id_, _, _ in pairs])
    kept: tuple[Rule, ...] = ()
    found = []
    for is_threshold, structure in dict.fromkeys((rule.kind == "threshold", rule.structure) for rule in rules):
        tried = [rule for rule in rules if (rule.kind == "threshold", rule.structure) == (is_threshold, structure)]
        options = [kept, *((*kept, rule) for rule in tried)]
        scores = _dice(pairs, options, scheme=scheme, shares=shares or {}, workers=workers, progress=progress)
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
    shares: Mapping[str, Path],
    workers: int | None,
    progress: Progress,
) -> list[Table]:
    """Dice (case, structure) under each option; every case is read once."""
    rows = map_cases(
        partial(_case_dice, scheme=scheme, options=tuple(options), shares=shares),
        pairs,
        name=_id,
        stage="trying corrections",
        workers=workers,
        progress=progress,
    )
    return [np.array([row[index] for row in rows]) for index in range(len(options))]


def _id(pair: Pair) -> str:
    return pair[0]


def _case_dice(
    pair: Pair, *, scheme: LabelScheme, options: Sequence[tuple[Rule, ...]], shares: Mapping[str, Path]
) -> list[list[float]]:
    case_id, prediction, reference = pair
    predicted, geometry = read_labels(prediction)
    truth, _ = read_labels(reference)
    steps = read_steps(shares[case_id]) if case_id in shares else None
    found = []
    for rules in options:
        painted = predicted if steps is None else _painted(steps, rules, scheme)
        scores = evaluate_case(
            corrected(painted, rules, scheme=scheme, spacing_mm=geometry.spacing_mm),
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


def _painted(steps: Steps, rules: Sequence[Rule], scheme: LabelScheme) -> NDArray[np.integer]:
    """The label map that probabilities in steps mean at the thresholds among the rules."""
    thresholds = thresholds_of(rules, scheme) or (0.5,) * len(scheme.regions)
    above = np.stack([one > round(threshold * STEPS) for one, threshold in zip(steps, thresholds, strict=True)])
    return scheme.decode(scheme.paint(above))
