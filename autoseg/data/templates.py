"""What is known about published data sets: channels, labels, regions, mirroring, and what training on them should give."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from autoseg.artefacts import FROZEN, load
from autoseg.data.image import Shape, Spacing
from autoseg.data.labels import Label, Region
from autoseg.errors import unknown_name

_ENDING = ".json"


class TemplateChannel(BaseModel):
    """A channel's name, and how file names of that channel end where each channel has its own file ("_t1ce", "-t1c")."""

    model_config = FROZEN
    name: str
    suffixes: tuple[str, ...] = ()


class PublishedScore(BaseModel):
    """Dice per label or region as published, between 0 and 1; `measured` says on which cases, `source` where it stands."""

    model_config = FROZEN
    dice: dict[str, float]
    measured: str
    source: str


class Expectation(BaseModel):
    """What to expect of a data set with nnU-Net's default 3d_fullres plan, None where nothing is published.

    `median_shape` (voxels) is taken after cropping and resampling; `spacing_mm` is the target spacing. Both are (z, y, x),
    as is `patch_size`.
    """

    model_config = FROZEN
    median_shape: Shape | None = None
    spacing_mm: Spacing | None = None
    patch_size: Shape | None = None
    batch_size: int | None = None
    time: str | None = None
    score: PublishedScore | None = None


class Template(BaseModel):
    """What is known about a data set apart from its files.

    `match` holds patterns (`*` and `?`, case ignored) of folder names, patients' folder names or the name in dataset.json.
    Empty `channels` or `labels` are read from the files. `mirror_axes` are 0 = z, 1 = y, 2 = x.
    """

    model_config = FROZEN
    name: str
    title: str
    layout: str
    match: tuple[str, ...] = ()
    channels: tuple[TemplateChannel, ...] = ()
    labels: tuple[Label, ...] = ()
    label_suffixes: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    target: Literal["labels", "regions"] = "labels"
    mirror_axes: tuple[int, ...] | None = None
    reference: str = ""
    licence: str = ""
    expected: Expectation = Expectation()

    def matches(self, names: Iterable[str]) -> bool:
        """Whether one of `names` fits one of the patterns."""
        return any(fnmatchcase(name.lower(), pattern.lower()) for name in names for pattern in self.match)


def template_names() -> list[str]:
    """The names of all templates that come with autoseg, sorted."""
    found = (entry.name for entry in files("autoseg.dataset_templates").iterdir())
    return sorted(name.removesuffix(_ENDING) for name in found if name.endswith(_ENDING))


def load_template(name: str) -> Template:
    """The template called `name`, or the one in the file `name` (a path that ends in .json).

    Raises UnknownNameError with the nearest known name, and ArtefactError for a file that is no template.
    """
    if name.endswith(_ENDING) and Path(name).is_file():
        return load(Template, Path(name), remake="copying and adapting a file of dataset_templates/")
    if name not in template_names():
        raise unknown_name("template", name, template_names())
    text = files("autoseg.dataset_templates").joinpath(name + _ENDING).read_text(encoding="utf-8")
    return Template.model_validate_json(text)


def templates_for(layout: str) -> list[Template]:
    """All templates of a layout, by name."""
    loaded = [load_template(name) for name in template_names()]
    return [template for template in loaded if template.layout == layout]
