"""What is known of a training after each epoch, and the table it is written to."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from autoseg.artefacts import FROZEN, written_whole
from autoseg.csv_table import write_csv

EMA_KEEP = 0.9
PER_OUTPUT = ("pseudo_dice", "train_dice", "case_dice")
"""Fields of a row with one entry per foreground output."""


class EpochRow(BaseModel):
    """One epoch.

    `pseudo_dice` has one entry per foreground output, None for one that occurred neither in the validation batches nor
    in what was predicted for them; `mean_pseudo_dice` is over those that occurred, `ema_pseudo_dice` its moving average
    (0.9 of the old value). `waiting_share` is the share of the time of the steps that was spent waiting for data.
    `micro_batch` (None: the whole batch) and `recomputed` say how memory was saved at the epoch's end.
    `train_dice` is the pseudo-Dice in some of the training batches, augmented as they are and before each step.
    `case_dice` has one entry per foreground output too, from whole held-out cases; it is empty where none was looked at.
    `memory_bytes` is the most memory so far: of the GPU where there is one, else of this process.
    """

    model_config = FROZEN
    epoch: int
    steps: int
    learning_rate: float
    train_loss: float | None
    validation_loss: float | None
    pseudo_dice: tuple[float | None, ...]
    mean_pseudo_dice: float | None
    ema_pseudo_dice: float | None
    seconds: float
    seconds_per_step: float
    waiting_share: float
    elapsed_s: float
    skipped_steps: int
    micro_batch: int | None = None
    recomputed: bool = False
    train_dice: tuple[float | None, ...] = ()
    mean_train_dice: float | None = None
    case_dice: tuple[float | None, ...] = ()
    mean_case_dice: float | None = None
    memory_bytes: int | None = None


def moving_average(previous: float | None, value: float | None) -> float | None:
    """The moving average of the mean pseudo-Dice after `value`; None until there is a first one.

    Source: nnU-Net, which keeps 0.9 of the old average.
    """
    if previous is None or value is None:
        return previous if value is None else value
    return EMA_KEEP * previous + (1 - EMA_KEEP) * value


def write_history(rows: Sequence[EpochRow], path: Path, *, output_names: Sequence[str]) -> None:
    """Write `rows` as CSV, one column per output; what is undefined stays empty."""
    fields = [field for field in EpochRow.model_fields if field not in PER_OUTPUT]
    table = []
    for row in rows:
        values = row.model_dump()
        outputs = (value for field in PER_OUTPUT for value in values[field] or (None,) * len(output_names))
        table.append([_cell(value) for value in (*(values[field] for field in fields), *outputs)])
    write_csv(path, [*fields, *(f"{field} {name}" for field in PER_OUTPUT for name in output_names)], table)


def write_json_lines(rows: Sequence[EpochRow], path: Path, *, output_names: Sequence[str]) -> None:
    """Write `rows` as JSON, one epoch a line; what is per output is an object with its name, what is undefined is null."""
    lines = []
    for row in rows:
        values = row.model_dump(mode="json")
        lines.append(values | {field: dict(zip(output_names, values[field], strict=False)) for field in PER_OUTPUT})
    with written_whole(path) as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines).encode())


def _cell(value: float | int | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"
