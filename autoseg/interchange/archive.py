"""A model as one file: a zip archive of known files, stored uncompressed, each with its length and digest.

The same model gives the same bytes. Nothing in the file is compressed, so that its length is the most that unpacking it
can write; weights would hardly become smaller.
"""

import hashlib
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel, Field, ValidationError

from autoseg.artefacts import FROZEN, describe, written_whole
from autoseg.errors import ArtefactError
from autoseg.interchange.file_digest import PIECE_BYTES, file_digest

ARCHIVE_FORMAT = 1
ENDING = ".autoseg"
MANIFEST = "manifest.json"
MOST_FILES = 500
MOST_BYTES = 64 * 2**30
MOST_JSON_BYTES = 16 * 2**20
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE = 0o100644 << 16

MODEL = "model"
PREVIOUS = "previous"
_FOLD_FILES = r"fold_[0-9A-Za-z]{1,32}/(fold\.json|weights_(final|best)\.safetensors)"
_NAME = re.compile(rf"({MODEL}|{PREVIOUS})/(plan\.json|model\.json|splits\.json|previous_stage\.json|{_FOLD_FILES})")
"""The only names there may be: no other place can be written to."""

_REMEDY = "Ask for the file again, or export it anew with autoseg_export."


class ArchiveFile(BaseModel):
    """Length and SHA-256 of a file in the archive."""

    model_config = FROZEN
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What an archive holds, by name in the archive. `name` is that of the model, `autoseg_version` wrote the file."""

    model_config = FROZEN
    format: int
    autoseg_version: str
    name: str
    dataset: str
    configuration: str
    files: dict[str, ArchiveFile]


@dataclass(frozen=True)
class Part:
    """A file to put into an archive: its name there, and where its content is, or what it is."""

    name: str
    content: Path | bytes

    def described(self) -> ArchiveFile:
        """Its length and digest."""
        if isinstance(self.content, Path):
            return ArchiveFile(bytes=self.content.stat().st_size, sha256=file_digest(self.content))
        return ArchiveFile(bytes=len(self.content), sha256=hashlib.sha256(self.content).hexdigest())


def write_archive(path: Path, manifest: Manifest, parts: Iterable[Part]) -> None:
    """Write `parts` and the manifest that describes them to `path`, whole or not at all; the order is that of the names."""
    text = (manifest.model_dump_json(indent=1) + "\n").encode()
    with written_whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for part in (Part(MANIFEST, text), *sorted(parts, key=lambda part: part.name)):
            with archive.open(_entry(part.name), "w", force_zip64=True) as target:
                if isinstance(part.content, bytes):
                    target.write(part.content)
                else:
                    with part.content.open("rb") as source:
                        shutil.copyfileobj(source, target, PIECE_BYTES)


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry without anything that depends on the time, the machine or the user."""
    entry = zipfile.ZipInfo(name, date_time=_LONG_AGO)
    entry.create_system = 3
    entry.external_attr = _REGULAR_FILE
    return entry


def read_manifest(path: Path) -> Manifest:
    """What the archive at `path` says that it holds, which is what it does hold by name and length.

    Raises ArtefactError for a file that is no archive of a model, that a newer autoseg wrote, or that holds anything
    that a model has no use for: other names, paths, links, compressed or encrypted entries, too many or too large files.
    """
    with opened(path) as archive:
        entries = archive.infolist()
        if MANIFEST not in archive.namelist():
            hint = "It is a model of nnU-Net: unpack it and import its folder." if _is_nnunet(entries) else _REMEDY
            raise ArtefactError(f"{path}: no file of autoseg_export: {MANIFEST} is missing. {hint}")
        _check_entries(entries, path)
        manifest = _parsed(archive.read(MANIFEST), path)
        _check_contents(manifest, {entry.filename: entry.file_size for entry in entries}, path)
        return manifest


def unpack(path: Path, folder: Path) -> Manifest:
    """Write the files of the archive at `path` below `folder`, each compared with its digest on the way.

    Raises ArtefactError as `read_manifest` does, and for a file whose content is not what the manifest says.
    """
    manifest = read_manifest(path)
    with opened(path) as archive:
        for name, expected in manifest.files.items():
            target = folder / name
            with readable(archive, name, path) as source, written_whole(target) as file:
                copy_exactly(source, file, expected.bytes, path=path, name=name)
            if file_digest(target) != expected.sha256:
                raise ArtefactError(f"{path}: {name} is not what was exported: its SHA-256 differs. {_REMEDY}")
    return manifest


def opened(path: Path) -> zipfile.ZipFile:
    """The zip archive at `path`. Raises ArtefactError for anything else."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise ArtefactError(f"{path}: truncated, or not a file of autoseg_export ({error}). {_REMEDY}") from error


def readable(archive: zipfile.ZipFile, name: str, path: Path) -> IO[bytes]:
    """The entry `name` of the archive at `path`. Raises ArtefactError where it is damaged."""
    try:
        return archive.open(name)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise ArtefactError(f"{path}: {name} cannot be read ({error}). {_REMEDY}") from error


def copy_exactly(source: IO[bytes], target: IO[bytes], size: int, *, path: Path, name: str) -> None:
    """Copy exactly `size` bytes. Raises ArtefactError, naming the entry, where it has more or less, or is damaged."""
    left = size
    try:
        while piece := source.read(min(PIECE_BYTES, left + 1)):
            left -= len(piece)
            if left < 0:
                break
            target.write(piece)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ArtefactError(f"{path}: {name} is damaged ({error}). {_REMEDY}") from error
    if left:
        raise ArtefactError(f"{path}: {name} has another length than its manifest says. {_REMEDY}")


def _check_entries(entries: list[zipfile.ZipInfo], path: Path) -> None:
    names = [entry.filename for entry in entries]
    if len(names) > MOST_FILES:
        raise ArtefactError(f"{path}: holds {len(names)} files; a model has at most {MOST_FILES}. {_REMEDY}")
    for entry in entries:
        problem = _problem(entry)
        if problem:
            raise ArtefactError(f"{path}: {entry.filename!r:.200} {problem}. Nothing was unpacked. {_REMEDY}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArtefactError(f"{path}: holds {twice[0]} twice. Nothing was unpacked. {_REMEDY}")


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry cannot belong to a model, None for one that can."""
    kind = entry.external_attr >> 28
    most = MOST_JSON_BYTES if entry.filename.endswith(".json") else MOST_BYTES
    if entry.filename != MANIFEST and not _NAME.fullmatch(entry.filename):
        return "is no file of a model"
    if kind not in (0, 0o10):
        return "is a link or something else than a file"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        return "is compressed, as no exported model is"
    if entry.file_size > most:
        return f"has {entry.file_size} bytes, more than the {most} allowed"
    return None


def _is_nnunet(entries: list[zipfile.ZipInfo]) -> bool:
    return any(entry.filename.endswith(("/plans.json", "checkpoint_final.pth")) for entry in entries)


def _parsed(text: bytes, path: Path) -> Manifest:
    try:
        found = json.loads(text)
        if isinstance(found, Mapping) and isinstance(found.get("format"), int) and found["format"] > ARCHIVE_FORMAT:
            raise ArtefactError(
                f"{path}: has format {found['format']}, written by autoseg {str(found.get('autoseg_version'))[:20]!r}; "
                f"this version reads format {ARCHIVE_FORMAT}. Update autoseg."
            )
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise ArtefactError(f"{path}: {MANIFEST}: {describe(error)}. {_REMEDY}") from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: {MANIFEST}: not JSON ({str(error)[:100]}). {_REMEDY}") from error


def _check_contents(manifest: Manifest, sizes: Mapping[str, int], path: Path) -> None:
    held = {name: size for name, size in sizes.items() if name != MANIFEST}
    listed = {name: file.bytes for name, file in manifest.files.items()}
    if held != listed:
        name = min(name for name in {*held, *listed} if held.get(name) != listed.get(name))
        raise ArtefactError(
            f"{path}: {name}: {_size(held.get(name))} in the file, {_size(listed.get(name))} in its manifest. {_REMEDY}"
        )
    if sum(held.values()) > MOST_BYTES:
        raise ArtefactError(f"{path}: holds {sum(held.values())} bytes, more than the {MOST_BYTES} allowed. {_REMEDY}")


def _size(size: int | None) -> str:
    return "missing" if size is None else f"{size} bytes"
