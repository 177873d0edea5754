"""The table of a comparison: one row for each way to train, what it costs and how good it is."""

from collections.abc import Mapping, Sequence
from statistics import mean

from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.benchmark.timing import Machine
from autoseg.evaluation.evaluate import Evaluation

METRICS = ("dice", "sensitivity", "specificity", "hd95_mm")


class Score(BaseModel):
    """A metric of a structure: the mean over the cases that counted, and its 95 % interval; None where undefined."""

    model_config = FROZEN
    mean: float | None
    low: float | None
    high: float | None
    counted: int


class Row(BaseModel):
    """One configuration or recipe, trained, predicted and evaluated; or the reason why that `failed`.

    `scores` hold METRICS of each structure (regions where the data set has them, else labels), the mean over folds.
    Seconds are of a training step and of a predicted case; `peak_bytes` is the most memory while it trained; `gflop` are
    10^9 floating point operations of one patch forward.
    """

    model_config = FROZEN
    name: str
    configuration: str
    recipe: str | None
    folds: tuple[str, ...]
    budget_s: float | None = None
    steps: int | None = None
    batch_size: int | None = None
    step_s: float | None = None
    case_s: float | None = None
    peak_bytes: int | None = None
    parameters: int | None = None
    gflop: float | None = None
    mean_dice: float | None = None
    scores: dict[str, dict[str, Score]] = {}
    failed: str | None = None


class Table(BaseModel):
    """All rows of a comparison on one data set, in the order they were asked for."""

    model_config = FROZEN
    dataset: str
    machine: Machine
    budget_s: float | None
    iterations: int | None
    seed: int
    rows: tuple[Row, ...]


def scores_of(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, Score]]:
    """Each structure's METRICS, averaged over the folds' evaluations; the interval is that of a single one."""
    found: dict[str, dict[str, Score]] = {}
    first = evaluations[0]
    for name in first.regions or first.labels:
        own = [(one.regions or one.labels)[name] for one in evaluations]
        found[name] = {}
        for metric in METRICS:
            summaries = [metrics[metric] for metrics in own if metric in metrics]
            means = [summary.mean for summary in summaries if summary.mean is not None]
            only = summaries[0] if len(summaries) == 1 else None
            found[name][metric] = Score(
                mean=mean(means) if means else None,
                low=only.low if only else None,
                high=only.high if only else None,
                counted=sum(summary.counted for summary in summaries),
            )
    return found


def mean_dice(scores: Mapping[str, Mapping[str, Score]]) -> float | None:
    """The mean Dice over structures that have one."""
    values = [metrics["dice"].mean for metrics in scores.values() if metrics["dice"].mean is not None]
    return mean(value for value in values if value is not None) if values else None


def pareto_best(rows: Sequence[Row]) -> set[str]:
    """Names of the rows that no other one beats in Dice without taking longer for a case."""
    known = [(row.name, row.mean_dice, row.case_s) for row in rows if row.mean_dice is not None and row.case_s is not None]
    return {
        name
        for name, dice, seconds in known
        if not any((d >= dice and s < seconds) or (d > dice and s <= seconds) for other, d, s in known if other != name)
    }
