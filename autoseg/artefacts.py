"""Saving and loading artefacts: frozen pydantic models as JSON, whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from autoseg.errors import ArtefactError, WorkspaceError

FROZEN = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
"""The configuration of every artefact: immutable, no unknown keys, no silent conversion, no NaN."""

UNFINISHED = ".writing-"
"""How the name of a file begins while it is written."""

Model = TypeVar("Model", bound=BaseModel)


def refuse_unwritable(folder: Path, *, remedy: str) -> None:
    """Make `folder` if it is not there; raises WorkspaceError, which ends with `remedy`, when it cannot be written in.

    For the start of long work, so that its end is not lost.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WorkspaceError(f"{folder}: cannot be written ({error.strerror}). {remedy}") from error


@contextmanager
def written_whole(path: Path, *, flushed: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` only once it is complete; on an error nothing changes there.

    Written beside the target under a temporary name, flushed to disk, then renamed. What is not `flushed` survives the end
    of this process, whatever ends it, but not a loss of power: for what is flushed later or can be made anew. Raises
    WorkspaceError when the place cannot be written (no permission, disk full).
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The temporary name keeps the ending: some writers choose the format by it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED, suffix="".join(path.suffixes[-2:]))
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if flushed:
                os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files only their owner can read
        temporary.replace(path)
        if flushed:
            flush_folder(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def flush_files(paths: Sequence[Path]) -> None:
    """Make what these files hold survive a loss of power. Raises WorkspaceError, as a full disk may show only now."""

    def flush(path: Path) -> None:
        try:
            with path.open("r+b") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(path, error) from error

    # At once: the disk then answers for all of them in little more than the time of one.
    with ThreadPoolExecutor(max(len(paths), 1)) as pool:
        list(pool.map(flush, paths))


def flush_folder(folder: Path) -> None:
    """Make a new name in `folder` survive a loss of power; where folders cannot be opened (Windows) nothing is done."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # what file systems say that flush no folders
            raise
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> WorkspaceError:
    reason = f"{error.strerror or error}{_room(path, error)}"
    return WorkspaceError(f"{path}: cannot be written ({reason}). Free space or choose another place.")


def _room(path: Path, error: OSError) -> str:
    """What is left where `path` lies, for a message about a full disk; numpy's errors have no number."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None):
        return ""
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:
        return ""
    return f"; {free / 2**20:.0f} MiB free on its disk"


def remove_unfinished(folder: Path, *, older_than_s: float = 0.0) -> None:
    """Delete what processes that were killed left of files in `folder`, where that was not touched for so long.

    Where others may be writing at this moment, name a time that no write takes.
    """
    for unfinished in folder.glob(f"{UNFINISHED}*"):
        if time.time() - unfinished.stat().st_mtime >= older_than_s:
            unfinished.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save(artefact: BaseModel, path: Path, *, flushed: bool = True) -> None:
    """Write `artefact` as indented JSON to `path`, whole or not at all; `flushed` as in `written_whole`."""
    with written_whole(path, flushed=flushed) as file:
        file.write((artefact.model_dump_json(indent=1) + "\n").encode())


def load(model: type[Model], path: Path, *, remake: str) -> Model:
    """The artefact of type `model` stored at `path`.

    `remake` is the command that writes the file anew; every message ends with it. Raises ArtefactError naming the file
    and the key: `plan.json: training.epochs: expected a valid integer, found '5'`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: not found. Make it with: {remake}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: cannot be read ({error}). Make it anew with: {remake}") from error
    try:
        found = model.model_validate_json(text)
    except ValidationError as error:
        raise ArtefactError(f"{path}: {describe(error)}. Correct the file, or make it anew with: {remake}") from error
    missing = _missing_keys(json.loads(text), found.model_dump(mode="json"))
    if missing:
        raise ArtefactError(f"{path}: {missing[0]}: missing. Add the key, or make the file anew with: {remake}")
    return found


def describe(error: ValidationError) -> str:
    """The first problem of a pydantic error as `path.to.key: expected ..., found ...`."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "(whole file)"
    match first["type"]:
        case "missing":
            return f"{key}: missing"
        case "extra_forbidden":
            return f"{key}: unknown key"
        case "json_invalid":
            return f"not JSON ({first['msg'].removeprefix('Invalid JSON: ')})"
        case "value_error":
            return f"{key}: {first['msg'].removeprefix('Value error, ')}"
    expected = first["msg"].removeprefix("Input should be ")
    return f"{key}: expected {expected}, found {first['input']!r}"


def _missing_keys(stored: Any, complete: Any, path: str = "") -> list[str]:
    """Paths of keys that `complete` has and `stored` lacks (a default would have filled them in silently)."""
    if isinstance(stored, dict) and isinstance(complete, dict):
        return [
            found
            for key, value in complete.items()
            for found in (_missing_keys(stored[key], value, f"{path}{key}.") if key in stored else [f"{path}{key}"])
        ]
    if isinstance(stored, list) and isinstance(complete, list):
        pairs = enumerate(zip(stored, complete, strict=True))
        return [found for i, (a, b) in pairs for found in _missing_keys(a, b, f"{path}{i}.")]
    return []


def digest(artefact: BaseModel) -> str:
    """A short fingerprint of everything `artefact` says: 16 hexadecimal digits of the SHA-256 of its JSON."""
    return hashlib.sha256(artefact.model_dump_json().encode()).hexdigest()[:16]
