"""What a report says about predictions: scores, cases, pictures, confusion and volumes."""

import numpy as np

from autoseg.errors import AutosegError, number_of
from autoseg.evaluation.metrics import about
from autoseg.evaluation.run import CASES_FILE
from autoseg.evaluation.scores import CaseScores
from autoseg.evaluation.summary import Summary
from autoseg.evaluation.table import MEAN, interval_text, summary_rows
from autoseg.report.blocks import Block, Cell, Picture, Table, Text, number_cell, number_text
from autoseg.report.overlays import chosen_cases, draw_overlay
from autoseg.report.scene import open_scene
from autoseg.report.sources import Sources
from autoseg.report.statistics import Pairs, agreement, confusion_shares, draw_agreement, draw_confusion

CROSS_VALIDATED = ("dice", "nsd", "hd95_mm", "assd_mm", "sensitivity", "specificity", "precision")
PER_CASE = ("dice", "iou", "nsd", "hd95_mm", "assd_mm", "sensitivity", "precision", "difference_ml", "lesion_f1_2026")
"""Metrics of the two tables, in order; the files hold all."""
MOST_ROWS = 15_000
"""Rows of the table of cases: with more the page would be too large to be sent by mail."""


def cross_validation(sources: Sources) -> list[Block]:
    """Means over all evaluated cases with their intervals, and Dice fold by fold."""
    evaluation = sources.evaluation
    if evaluation is None:
        return []
    shown = [metric for metric in CROSS_VALIDATED if metric in evaluation.metrics]
    rows = [
        [Cell(f"{name} of {kind}s" if name == MEAN else name), *(_summary_cell(values[m], m, name) for m in shown)]
        for kind, name, values in summary_rows(evaluation)
    ]
    what = f"the held-out cases of {_evaluated_folds(sources)}" if sources.folds else "all cases"
    caption = f"Mean [95 % interval] (cases that counted) over {number_of(len(evaluation.cases), 'case')}: {what}"
    blocks: list[Block] = [Table(caption, ("", *(about(metric).heading for metric in shown)), rows)]
    evaluated = [(fold.name, fold.evaluation) for fold in sources.folds if fold.evaluation is not None]
    if evaluated:
        names = [f"{name} of {kind}s" if name == MEAN else name for kind, name, _ in summary_rows(evaluation)]
        by_fold = [
            [Cell(name), Cell(str(len(one.cases))), *(number_cell(v["dice"].mean, 3) for _, _, v in summary_rows(one))]
            for name, one in evaluated
        ]
        blocks.append(Table("Mean Dice of each fold", ("fold", "cases", *names), by_fold))
    untested = [fold.name for fold in sources.folds if fold.evaluation is None]
    if untested:
        blocks.append(Text(f"Not evaluated, so not in these means: fold {', '.join(untested)}."))
    return [*blocks, *_left_out(sources)]


def _left_out(sources: Sources) -> list[Block]:
    """The cases that are in no mean, by name."""
    evaluation = sources.evaluation
    assert evaluation is not None, "asked for where there is one"
    groups = {f"held-out cases of fold {fold.name} without a score": fold.unscored for fold in sources.folds}
    groups["references without a prediction"] = evaluation.missing
    groups["predictions without a reference"] = evaluation.extra
    return [Text(f"Left out, {what}: {', '.join(cases)}.") for what, cases in groups.items() if cases]


def per_case(sources: Sources) -> list[Block]:
    """Every case and structure, worst first."""
    evaluation = sources.evaluation
    if evaluation is None:
        return []
    shown = [metric for metric in PER_CASE if metric in evaluation.metrics]
    ranked = sorted(evaluation.cases, key=_worst_first)
    rows = [
        [Cell(case.id), Cell(name), *(number_cell(scores.metrics[m], about(m).decimals) for m in shown)]
        for case in ranked
        for name, scores in case.structures.items()
    ]
    caption = "Cases from the lowest mean Dice to the highest. Choose a heading to sort by it."
    headings = ("case", "structure", *(about(metric).heading for metric in shown))
    blocks: list[Block] = [Table(caption, headings, rows[:MOST_ROWS], is_sortable=True)]
    if len(rows) > MOST_ROWS:
        blocks.append(Text(f"These are the first {MOST_ROWS} of {len(rows)} rows; {CASES_FILE} holds all."))
    return blocks


def overlays(sources: Sources) -> list[Block]:
    """Pictures of the worst, the median and the best case."""
    evaluation = sources.evaluation
    blocks: list[Block] = []
    for name, case_id in (chosen_cases(evaluation) if evaluation is not None else {}).items():
        assert evaluation is not None, "cases were chosen from it"
        if case_id not in sources.predictions or sources.reference(case_id) is None:
            blocks.append(Text(f"{name} case {case_id}: its label maps are not where the evaluation found them."))
            continue
        try:
            scene = open_scene(sources, case_id, scheme=evaluation.scheme)
        except AutosegError as error:
            blocks.append(Text(f"{name} case {case_id} cannot be drawn: {error}"))
            continue
        scores = next(case for case in evaluation.cases if case.id == case_id)
        parts = [f"{n} {number_text(s.metrics['dice'], 3)}" for n, s in scores.structures.items()]
        title = f"{name} case: {case_id}, mean Dice {number_text(scores.mean_dice, 3)} ({', '.join(parts)})"
        differing = number_of(int(scene.difference.sum()), "differing voxel")
        alt = f"Slices through the largest disagreement of {title}. {differing} from the reference."
        caption = f"{title}. Planes through the largest disagreement; {differing}."
        blocks.append(Picture(draw_overlay(scene, scheme=evaluation.scheme, title=title), alt, caption))
    return blocks


def confusion(sources: Sources) -> list[Block]:
    """Which label was taken for which."""
    evaluation = sources.evaluation
    if evaluation is None:
        return []
    names = [label.name for label in evaluation.scheme.labels]
    shares = confusion_shares(evaluation.cases)
    rows = [
        [Cell(name), *(Cell("–") if np.isnan(x) else Cell(f"{100 * x:.2f} %", float(x)) for x in row)]
        for name, row in zip(names, shares, strict=True)
    ]
    return [
        Picture(
            draw_confusion(shares, names),
            "Shares of each reference label by predicted label; the table below holds the same numbers.",
            "Of the voxels of each reference label (rows), the share with each predicted label (columns).",
        ),
        Table("Confusion between labels, over all cases", ("reference", *names), rows),
    ]


def volumes(sources: Sources) -> list[Block]:
    """How well volumes agree."""
    evaluation = sources.evaluation
    if evaluation is None or not {"predicted_ml", "reference_ml"} <= set(evaluation.metrics):
        return []
    found: list[tuple[str, Pairs]] = []
    names = list(evaluation.structures)
    for name in names:
        metrics = [case.structures[name].metrics for case in evaluation.cases]
        pairs = [(m["predicted_ml"], m["reference_ml"]) for m in metrics]
        defined = np.array([pair for pair in pairs if None not in pair], dtype=np.float64).reshape(-1, 2)
        if len(defined) > 1:
            found.append((name, defined))
    if not found:
        return []
    rows = []
    for name, agreed in found:
        mean, low, high = agreement(agreed)
        rows.append([Cell(name), number_cell(mean, 2), number_cell(low, 2), number_cell(high, 2), Cell(str(len(agreed)))])
    listed = "; ".join(f"{row[0].text}: {row[1].text} ml ({row[2].text} to {row[3].text})" for row in rows)
    return [
        Picture(
            draw_agreement(found),
            f"Bland-Altman plots of volumes. Mean difference and limits of agreement: {listed}.",
            "Difference of volumes over their mean; the line is the mean difference, dashes the limits of agreement.",
        ),
        Table("Prediction minus reference, ml", ("", "mean", "lower limit", "upper limit", "cases"), rows),
    ]


def _worst_first(case: CaseScores) -> tuple[bool, float, str]:
    return case.mean_dice is None, case.mean_dice or 0.0, case.id


def _summary_cell(summary: Summary, metric: str, name: str) -> Cell:
    if summary.mean is None:
        return Cell("–")
    decimals = about(metric).decimals
    counted = "" if name == MEAN else f" ({summary.counted})"
    # The interval stays together, on a line of its own where there is little room.
    spread = f"{interval_text(summary, decimals)}{counted}".strip().replace(" ", "\N{NO-BREAK SPACE}")
    return Cell(f"{summary.mean:.{decimals}f} {spread}".rstrip(), summary.mean)


def _evaluated_folds(sources: Sources) -> str:
    names = [fold.name for fold in sources.folds if fold.evaluation is not None]
    return f"fold{'s' if len(names) > 1 else ''} {', '.join(names)}"
