"""A training as TensorBoard shows it: event files with losses, Dice, learning rate and slices of validation patches."""

import importlib.util
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.training.example import Example
from autoseg.training.history import EpochRow
from autoseg.training.observers import Start, Step

FLUSH_S = 10

COLOURS = np.array(
    [(0, 0, 0), (228, 26, 28), (55, 126, 184), (77, 175, 74), (255, 127, 0), (152, 78, 163), (255, 255, 51), (166, 86, 40)],
    dtype=np.float32,
)
"""Of classes, background first; further classes take those of the foreground again."""
OPACITY = 0.5

LEAST_ROOM = 1 << 20
"""Bytes that an epoch's events may take."""

logger = logging.getLogger(__name__)


class TensorBoardEvents:
    """Writes the event files of a fold to a folder; writes nothing where TensorBoard is not installed, and says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None
        self._output_names: tuple[str, ...] = ()
        self._example: Example | None = None

    def started(self, start: Start) -> None:
        """Open a file; those of earlier runs of the same fold stay beside it and are shown as one curve."""
        if importlib.util.find_spec("tensorboard") is None:
            logger.info("TensorBoard is not installed: no event files (pip install tensorboard)")
            return
        from torch.utils.tensorboard import SummaryWriter

        # Events after the epoch to go on from are of a run that was broken off: they are hidden.
        self._writer = SummaryWriter(str(self.folder), purge_step=start.first_epoch or None, flush_secs=FLUSH_S)
        self._output_names = start.output_names

    def stepped(self, step: Step) -> None:
        """Nothing: an event file of every step would grow by gigabytes."""

    def pictured(self, example: Example) -> None:
        """Keep the example for the end of the epoch."""
        self._example = example

    def epoch_ended(self, history: Sequence[EpochRow]) -> None:
        """Write what the epoch's row says, and the example."""
        if self._writer is None:
            return
        # TensorBoard writes in a thread of its own, whose traceback would be all that a full disk leaves to see.
        if (free := shutil.disk_usage(self.folder).free) < LEAST_ROOM:
            self._give_up(f"{free / 2**20:.1f} MiB free on its disk")
            return
        try:
            self._write(history[-1])
        except OSError as error:
            self._give_up(str(error))

    def _write(self, row: EpochRow) -> None:
        for name, value in _scalars(row, self._output_names).items():
            if value is not None:
                self._writer.add_scalar(name, value, row.epoch)
        if self._example is not None:
            self._writer.add_image("validation/image, wanted, found", panels(self._example), row.epoch, dataformats="HWC")
        self._writer.flush()

    def _give_up(self, reason: str) -> None:
        """Events are a convenience that no training should end for."""
        logger.warning("%s: no more event files for TensorBoard are written (%s)", self.folder, reason)
        self._writer = None

    def warned(self, message: str) -> None:
        """Nothing."""

    def ended(self) -> None:
        """Close the file."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            self._give_up(str(error))
        self._writer = None


def _scalars(row: EpochRow, output_names: Sequence[str]) -> dict[str, float | None]:
    """The curves' names and their values; None is a gap."""
    found: dict[str, float | None] = {
        "loss/training": row.train_loss,
        "loss/validation": row.validation_loss,
        "dice_training/mean": row.mean_train_dice,
        "dice_validation/mean": row.mean_pseudo_dice,
        "dice_validation/moving average": row.ema_pseudo_dice,
        "dice_whole_cases/mean": row.mean_case_dice,
        "learning_rate": row.learning_rate,
        "speed/seconds per step": row.seconds_per_step,
        "speed/share of waiting": row.waiting_share,
        "memory/GiB": None if row.memory_bytes is None else row.memory_bytes / 2**30,
    }
    of_outputs = (
        ("dice_training", row.train_dice),
        ("dice_validation", row.pseudo_dice),
        ("dice_whole_cases", row.case_dice),
    )
    for group, values in of_outputs:
        found |= {f"{group}/{name}": value for name, value in zip(output_names, values, strict=False)}
    return found


def panels(example: Example) -> NDArray[np.uint8]:
    """Image, image with the classes wanted, and with those found, side by side (y, 3 x, RGB)."""
    grey = np.repeat(example.image[..., None] * 255, 3, axis=-1)
    parts = [grey, _coloured(grey, example.target), _coloured(grey, example.found)]
    found: NDArray[np.uint8] = np.concatenate(parts, axis=1).round().astype(np.uint8)
    return found


def _coloured(grey: NDArray[np.float32], classes: NDArray[np.integer]) -> NDArray[np.float32]:
    foreground = np.where(classes > 0, 1 + (np.maximum(classes, 1) - 1) % (len(COLOURS) - 1), 0)
    mixed: NDArray[np.float32] = (1 - OPACITY) * grey + OPACITY * COLOURS[foreground]
    return np.where((classes > 0)[..., None], mixed, grey)
