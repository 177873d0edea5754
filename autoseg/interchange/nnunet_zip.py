"""Models of nnU-Net in the zip that nnUNetv2_export_model_to_zip writes; they may come from a stranger."""

import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from autoseg.artefacts import written_whole
from autoseg.errors import ArtefactError
from autoseg.interchange.archive import MOST_BYTES, MOST_JSON_BYTES, copy_exactly, opened, readable
from autoseg.interchange.installing import Installed
from autoseg.interchange.nnunet_folder import PLANS_FILE
from autoseg.interchange.nnunet_import import import_nnunet
from autoseg.workspace import Workspace

MOST_ENTRIES = 200_000
MOST_RATIO = 100
"""Weights hardly become smaller when they are compressed: what shrinks more than so many times is no checkpoint."""

_PLAIN = r"[\w.+-]{1,120}"
_WANTED = re.compile(
    rf"(?P<above>(?:{_PLAIN}/)*)(?P<model>{_PLAIN}__{_PLAIN}__{_PLAIN})/"
    rf"(?P<file>plans\.json|dataset\.json|splits_final\.json"
    rf"|fold_(?:\d{{1,3}}|all)/(?:checkpoint_(?:final|best|latest)\.pth|validation/{_PLAIN}\.(?:nii\.gz|nii|nrrd|mha|png|tif)))"
)
"""What is unpacked. Pictures, logs and pickled post-processing stay in the file, and so does any path out of it."""


def is_nnunet_zip(file: Path) -> bool:
    """Whether `file` is a zip archive with plans of nnU-Net in it."""
    if not zipfile.is_zipfile(file):
        return False
    with opened(file) as archive:
        return any(_is_plans(name) for name in archive.namelist())


def _is_plans(name: str) -> bool:
    found = _WANTED.fullmatch(name)
    return found is not None and found["file"] == PLANS_FILE


def import_nnunet_zip(
    file: Path,
    workspace: Workspace,
    *,
    name: str | None = None,
    dataset: str | None = None,
    splits: Path | None = None,
    orientation: str | None = None,
    overwrite: bool = False,
) -> list[Installed]:
    """Every model in the zip `file`, each as `import_nnunet` takes over its folder.

    One model is called `name`, several NAME_CONFIGURATION. Only files that a model needs are unpacked, into a folder that
    is removed again. Raises ArtefactError for an archive that is damaged or far larger than it looks, and what
    `import_nnunet` does.
    """
    with tempfile.TemporaryDirectory(dir=workspace.root, prefix=".importing-") as place:
        folders = _unpacked(file, Path(place))
        found: list[Installed] = []
        for folder in folders:
            configuration = folder.name.rpartition("__")[2]
            own = name if len(folders) == 1 or name is None else f"{name}_{configuration}"
            found += import_nnunet(
                folder,
                workspace,
                name=own,
                dataset=dataset,
                splits=splits,
                orientation=orientation,
                overwrite=overwrite,
            )
        return found


def _unpacked(file: Path, place: Path) -> list[Path]:
    """The model folders, in the order of their names, below `place`."""
    with opened(file) as archive:
        wanted = [entry for entry in archive.infolist() if _WANTED.fullmatch(entry.filename)]
        _check(wanted, file, free=shutil.disk_usage(place).free)
        for entry in wanted:
            target = _target(entry.filename, place)
            with readable(archive, entry.filename, file) as source, written_whole(target) as written:
                copy_exactly(source, written, entry.file_size, path=file, name=entry.filename)
    return sorted(path.parent for path in place.rglob(PLANS_FILE))


def _target(name: str, place: Path) -> Path:
    found = _WANTED.fullmatch(name)
    assert found is not None, "only wanted entries are unpacked"
    # Models that lay side by side do so again; dots among the folders above lead nowhere.
    parts = (f"of {found['above'].replace('/', ' ')}", found["model"], *found["file"].split("/"))
    return place.joinpath(*parts)


def _check(entries: Iterable[zipfile.ZipInfo], file: Path, *, free: int) -> None:
    entries = list(entries)
    if len(entries) > MOST_ENTRIES or len({entry.filename for entry in entries}) < len(entries):
        raise ArtefactError(f"{file}: holds a file twice, or more than {MOST_ENTRIES} files. Nothing was unpacked.")
    for entry in entries:
        problem = _problem(entry)
        if problem:
            raise ArtefactError(f"{file}: {entry.filename} {problem}. Nothing was unpacked. Ask for the file again.")
    total = sum(entry.file_size for entry in entries)
    if total > MOST_BYTES:
        raise ArtefactError(f"{file}: holds {total} bytes, more than the {MOST_BYTES} allowed. Nothing was unpacked.")
    if total > free:
        raise ArtefactError(f"{file}: needs {total} bytes to be unpacked, {free} are free. Choose a workspace with -w DIR.")


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry cannot belong to a model, None for one that can."""
    if entry.external_attr >> 28 not in (0, 0o10):
        return "is a link or something else than a file"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.filename.endswith(".json") and entry.file_size > MOST_JSON_BYTES:
        return f"has {entry.file_size} bytes, more than the {MOST_JSON_BYTES} allowed"
    if entry.file_size > max(MOST_JSON_BYTES, MOST_RATIO * entry.compress_size):
        return f"has {entry.file_size} bytes compressed to {entry.compress_size}: no checkpoint can be"
    return None
