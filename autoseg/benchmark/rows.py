"""The table of a comparison: one row for each way to train, what it costs and how good it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from pydantic import BaseModel

from autoseg.artefacts import FROZEN, load
from autoseg.benchmark.timing import Machine
from autoseg.errors import ArtefactError
from autoseg.evaluation.evaluate import Evaluation
from autoseg.evaluation.summary import summarise

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

    `scores` hold METRICS of each structure (regions where the data set has them, else labels) over all folds' cases.
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
    """All rows of a comparison on one data set, in the order they were asked for; `plan` is the digest of their plan."""

    model_config = FROZEN
    dataset: str
    plan: str
    machine: Machine
    budget_s: float | None
    iterations: int | None
    seed: int
    rows: tuple[Row, ...]


def joined_with(table: Table, file: Path) -> Table:
    """The table with the rows that `file` has besides, where that was made with the same plan, budget and machine."""
    try:
        earlier = load(Table, file, remake="autoseg_benchmark run")
    except ArtefactError:
        return table
    if earlier.model_copy(update={"rows": ()}) != table.model_copy(update={"rows": ()}):
        return table
    own = {(row.name, row.folds) for row in table.rows}
    besides = [row for row in earlier.rows if (row.name, row.folds) not in own and row.failed is None]
    return table.model_copy(update={"rows": (*besides, *table.rows)})


def scores_of(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, Score]]:
    """Each structure's METRICS over the cases of all folds' evaluations, and the 95 % interval of their mean."""
    cases = [case.structures for one in evaluations for case in one.cases]
    structures, _ = summarise(cases)
    return {
        name: {
            metric: Score(mean=found.mean, low=found.low, high=found.high, counted=found.counted)
            for metric, found in metrics.items()
            if metric in METRICS
        }
        for name, metrics in structures.items()
    }


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
