"""A report as one HTML page that needs no other file and no network."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.artefacts import written_whole
from autoseg.errors import ArtefactError
from autoseg.report.sections import SECTIONS, Section
from autoseg.report.sources import Sources

if TYPE_CHECKING:
    from jinja2 import Environment

LARGEST_BYTES = 20_000_000
"""A page that can still be sent by mail."""


def render(sources: Sources, *, sections: Sequence[Section] = SECTIONS) -> str:
    """The page; a section without blocks is left out. Every number on it comes from the artefacts.

    Raises ArtefactError where there is nothing at all to show.
    """
    told = (sources.dataset, sources.evaluation, sources.survival)
    if all(one is None for one in told) and not sources.problems:
        raise ArtefactError(f"{sources.title}: nothing to report on yet. Plan it with: autoseg_plan DATASET")
    parts = [(section, blocks) for section in sections if (blocks := section.make(sources))]
    template = _templates().get_template("report.html")
    return template.render(title=sources.title, parts=parts)


def write(sources: Sources, path: Path) -> None:
    """Write the page to `path`, whole or not at all."""
    text = render(sources).encode()
    with written_whole(path) as file:
        file.write(text)


@lru_cache(maxsize=1)
def _templates() -> "Environment":
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = files("autoseg.report") / "templates"
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ("report.html", "style.css", "sort.js")}
    return Environment(
        loader=DictLoader(texts), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
