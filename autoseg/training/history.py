"""What is known of a training after each epoch, and the table it is written to."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from autoseg.artefacts import FROZEN, written_whole

EMA_KEEP = 0.9


class EpochRow(BaseModel):
    """One epoch.

    `pseudo_dice` has one entry per foreground output, None for one that occurred neither in the validation batches nor
    in what was predicted for them; `mean_pseudo_dice` is over those that occurred, `ema_pseudo_dice` its moving average
    (0.9 of the old value). `waiting_share` is the share of the time of the steps that was spent waiting for data.
    `micro_batch` (None: the whole batch) and `recomputed` say how memory was saved at the epoch's end.
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


def moving_average(previous: float | None, value: float | None) -> float | None:
    """The moving average of the mean pseudo-Dice after `value`; None until there is a first one.

    Source: nnU-Net, which keeps 0.9 of the old average.
    """
    if previous is None or value is None:
        return previous if value is None else value
    return EMA_KEEP * previous + (1 - EMA_KEEP) * value


def write_history(rows: Sequence[EpochRow], path: Path, *, output_names: Sequence[str]) -> None:
    """Write `rows` as CSV, one column per output; what is undefined stays empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    fields = [field for field in EpochRow.model_fields if field != "pseudo_dice"]
    table.writerow([*fields, *(f"pseudo_dice {name}" for name in output_names)])
    for row in rows:
        values = row.model_dump()
        table.writerow([_cell(value) for value in (*(values[field] for field in fields), *row.pseudo_dice)])
    with written_whole(path) as file:
        file.write(text.getvalue().encode())


def _cell(value: float | int | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"
