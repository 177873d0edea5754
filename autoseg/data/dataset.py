"""A data set as it was downloaded: which files make up which case, and what their channels and labels mean."""

from pathlib import Path

from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.data.labels import LabelScheme


class Case(BaseModel):
    """One patient or picture.

    `images` holds either one file with all channels (4-D, or an RGB picture) or one file per channel, in the order of
    the data set's channels. Paths are relative to the data set's root, or absolute where a file lies elsewhere.
    """

    model_config = FROZEN
    id: str
    images: tuple[str, ...]
    label: str | None = None

    def image_paths(self, root: Path) -> list[Path]:
        """Where the image files of this case lie."""
        return [root / image for image in self.images]

    def label_path(self, root: Path) -> Path | None:
        """Where the label map of this case lies; None for a case without one."""
        return None if self.label is None else root / self.label


class Dataset(BaseModel):
    """The cases of a data set and what is known about it before any image is read.

    `cases` have labels and are sorted by id; `test_cases` have none or keep theirs for evaluation. `mirror_axes` are the
    axes (0 = z, 1 = y, 2 = x) that may be mirrored, None where nobody has said. `layout` names the arrangement of files
    that was recognised ("msd", "brats", ...).
    """

    model_config = FROZEN
    name: str
    root: str
    layout: str
    template: str | None
    channels: tuple[str, ...]
    labels: LabelScheme
    cases: tuple[Case, ...]
    test_cases: tuple[Case, ...] = ()
    mirror_axes: tuple[int, ...] | None = None
    reference: str = ""
    licence: str = ""

    @property
    def folder(self) -> Path:
        """The root as a path."""
        return Path(self.root)
