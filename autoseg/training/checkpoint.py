"""Checkpoints that survive being killed at any moment: the last two are kept, each whole or not there."""

import logging
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoseg.artefacts import flush_folder, written_whole
from autoseg.errors import ArtefactError, WorkspaceError
from autoseg.training.state import CHECKPOINT_FORMAT

CURRENT = "checkpoint.pt"
PREVIOUS = "checkpoint_previous.pt"
_NEW = "checkpoint_new.pt"

_UNREADABLE = (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError)

logger = logging.getLogger(__name__)


def save_checkpoint(checkpoint: Mapping[str, Any], folder: Path) -> None:
    """Write `checkpoint` to `folder`; the one before it is kept as well.

    Raises WorkspaceError when there is no room; the last checkpoint is then intact.
    """
    new, current = folder / _NEW, folder / CURRENT
    try:
        with written_whole(new) as file:
            torch.save(dict(checkpoint), file)
    except (RuntimeError, WorkspaceError) as error:  # torch's writer turns a full disk into the first
        reason = (
            f"{_first_line(error.__cause__ or error)}; {shutil.disk_usage(folder).free / 2**20:.0f} MiB free on its disk"
        )
        raise WorkspaceError(
            f"{current}: cannot be written ({reason}). The last checkpoint is intact: free space and run the same command "
            "again."
        ) from error
    # Killed between the two renames, the folder still holds a whole checkpoint under the other name.
    if current.exists():
        current.replace(folder / PREVIOUS)
    new.replace(current)
    flush_folder(folder)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The last whole checkpoint of `folder` on the CPU, the previous one (with a warning) where the last is damaged.

    None when there is none. Raises ArtefactError when all there are cannot be read.
    """
    candidates = [folder / name for name in (CURRENT, PREVIOUS) if (folder / name).exists()]
    for path in candidates:
        try:
            return _load(path)
        except _UNREADABLE as error:
            logger.warning("%s: cannot be read (%s); falling back to the checkpoint before it.", path, _first_line(error))
    if candidates:
        raise ArtefactError(
            f"{candidates[0]}: truncated or damaged, and no other checkpoint is whole. "
            "Train this fold anew with: autoseg_train ... --restart"
        )
    return None


def remove_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a finished fold."""
    for name in (CURRENT, PREVIOUS, _NEW):
        (folder / name).unlink(missing_ok=True)


def _load(path: Path) -> dict[str, Any]:
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != CHECKPOINT_FORMAT:
        raise ValueError(f"expected checkpoint format {CHECKPOINT_FORMAT}")
    return checkpoint


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write `weights` to `path` as safetensors."""
    from safetensors.torch import save

    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    with written_whole(path) as file:
        file.write(data)


def load_weights(path: Path, *, remake: str) -> dict[str, Tensor]:
    """The weights stored at `path`, on the CPU.

    `remake` is the command that makes the file anew. Raises ArtefactError for a file that is missing or truncated.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: not found. Make it with: {remake}") from error
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path}: truncated or damaged ({error}). Make it anew with: {remake}") from error
