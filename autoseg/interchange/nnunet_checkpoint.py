"""Checkpoints of nnU-Net, read without running what is pickled in them."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoseg.errors import ArtefactError

NOT_READ = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
)
"""What nnU-Net's logs hold beside tensors and plain values. It is allowed to be there, but nothing of it is made."""

_UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile)
_PREFIXES = ("module.", "_orig_mod.")


class _Unread:
    """Stands where a number of numpy stood: takes anything and keeps nothing, so that no code of numpy runs."""

    def __init__(self, *_arguments: object) -> None:
        """Forget the arguments."""

    def __setstate__(self, _state: object) -> None:
        """Forget the state."""


@dataclass(frozen=True, eq=False)
class NnunetCheckpoint:
    """What a checkpoint says that prediction needs; the weights under nnU-Net's names.

    `mirror_axes` count the network's own axes. `epochs` is how many had been trained, `dataset_json` the content of the
    dataset.json it was trained with, None where the checkpoint does not say.
    """

    path: Path
    weights: Mapping[str, Tensor]
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...]
    epochs: int
    dataset_json: Mapping[str, Any] | None = None


def read_checkpoint(path: Path) -> NnunetCheckpoint:
    """The checkpoint at `path`; its tensors stay in the file until they are used.

    Allowed are tensors, plain values, and the names in NOT_READ; raises ArtefactError naming any other class or function,
    for a file that is truncated, and for one without nnU-Net's keys.
    """
    content = _loaded(path)
    weights = content.get("network_weights") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights or not all(isinstance(each, Tensor) for each in weights.values()):
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ArtefactError(f"{path}: expected a checkpoint of nnU-Net with the key network_weights, found {found:.200}.")
    init = content.get("init_args")
    init = init if isinstance(init, dict) else {}
    configuration = init.get("configuration")
    if not isinstance(configuration, str):
        raise ArtefactError(
            f"{path}: init_args.configuration: expected a name such as 3d_fullres, found {configuration!r}."
        )
    return NnunetCheckpoint(
        path=path,
        weights={_plain_name(name): tensor for name, tensor in weights.items()},
        configuration=configuration,
        trainer=str(content.get("trainer_name", "nnUNetTrainer")),
        mirror_axes=_axes(content.get("inference_allowed_mirroring_axes"), path),
        epochs=_epochs(content.get("current_epoch")),
        dataset_json=_described(init),
    )


def _loaded(path: Path) -> Any:
    with torch.serialization.safe_globals([(_Unread, name) for name in NOT_READ]):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except pickle.UnpicklingError as error:
            names = _foreign_names(path, error)
            raise ArtefactError(
                f"{path}: holds {', '.join(names)}, which would have to be run to be read; only tensors, plain values and "
                "numpy's numbers are taken from a checkpoint. If you trust the file, load it with nnU-Net, drop what is "
                "named here, and save it again."
            ) from error
        except _UNREADABLE as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ArtefactError(f"{path}: truncated or no checkpoint ({reason:.200}). Copy the file again.") from error


def _foreign_names(path: Path, error: Exception) -> list[str]:
    """The classes and functions that are not allowed, found without running anything."""
    try:
        found = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except (pickle.UnpicklingError, *_UNREADABLE):
        found = re.findall(r"GLOBAL ([\w.]+)", str(error))
    return found or ["instructions that are not allowed"]


def _plain_name(name: object) -> str:
    """The name without what parallel training and compilation put in front."""
    text = str(name)
    while text.startswith(_PREFIXES):
        text = text.partition(".")[2]
    return text


def _axes(value: object, path: Path) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, tuple | list) or not all(type(axis) is int and 0 <= axis <= 2 for axis in value):
        raise ArtefactError(f"{path}: inference_allowed_mirroring_axes: expected axes out of 0, 1, 2, found {value!r:.80}.")
    return tuple(sorted(set(value)))


def _described(init: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = init.get("dataset_json")
    return found if isinstance(found, dict) else None


def _epochs(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
