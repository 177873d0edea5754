"""What a layout finds in a folder, and how it says that the folder is none of its kind."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.data.dataset import Case
from autoseg.data.labels import LabelScheme
from autoseg.data.readers import image_stem, is_image
from autoseg.data.templates import Template
from autoseg.errors import DatasetError, number_of


class OtherLayoutError(DatasetError):
    """The folder is arranged in another way; the message says what this layout missed."""


@dataclass(frozen=True)
class Found:
    """The cases of a folder and what its own files say about them. `names` are what templates are matched against."""

    channels: tuple[str, ...]
    labels: LabelScheme
    cases: tuple[Case, ...]
    test_cases: tuple[Case, ...] = ()
    names: tuple[str, ...] = ()
    template: str | None = None
    reference: str = ""
    licence: str = ""


Layout = Callable[[Path, Template | None], Found]
"""Finds the cases in a folder, or in a file that lists them. Raises OtherLayoutError when the folder is arranged otherwise,
and DatasetError when it is arranged so but cannot be used. The template is the one that the user named."""


def images_in(folder: Path) -> list[Path]:
    """The image files directly in `folder`, by name, without hidden litter; empty if the folder does not exist."""
    return sorted(path for path in folder.iterdir() if is_image(path)) if folder.is_dir() else []


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in `folder`, by name, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def relative(path: Path, root: Path) -> str:
    """`path` as a Case stores it: relative to `root` with forward slashes, absolute if it lies elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Image files by their name without ending."""
    return {image_stem(path): path for path in paths}


def in_order(cases: Iterable[Case]) -> tuple[Case, ...]:
    """The cases sorted by id."""
    return tuple(sorted(cases, key=lambda case: case.id))


def refuse_missing(missing: Sequence[str], listed_in: Path) -> None:
    """Raise DatasetError naming the files (each "key: path") that a list names and that are not there."""
    if missing:
        shown = "\n  ".join(missing[:10])
        more = f"\n  and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise DatasetError(
            f"{listed_in}: it names what is not there ({number_of(len(missing), 'file')}):\n  {shown}{more}\n"
            "Complete the download, or remove the entries."
        )
