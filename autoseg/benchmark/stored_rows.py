"""Finished rows of a comparison on disk, so that the same is not made twice."""

import logging

from pydantic import BaseModel

from autoseg.artefacts import FROZEN, digest, load, save
from autoseg.benchmark.rows import Row
from autoseg.benchmark.setting import Setting
from autoseg.errors import ArtefactError

OURS = "autoseg"

logger = logging.getLogger(__name__)


class Wanted(BaseModel):
    """What a row is made from: the program that trains, and what it is given."""

    model_config = FROZEN
    program: str = OURS
    plan: str
    configuration: str
    recipe: str | None
    folds: tuple[str, ...]
    settings: tuple[str, ...]
    budget_s: float | None
    device: str
    threads: int

    @property
    def name(self) -> str:
        """What the row is called before it is made."""
        return " ".join(part for part in (self.recipe, self.configuration) if part is not None)


class Stored(BaseModel):
    """A finished row and the digest of what was wanted."""

    model_config = FROZEN
    made_from: str
    row: Row


def find_row(setting: Setting, wanted: Wanted) -> Row | None:
    """The row as it was made before, None where it was not."""
    made_from = digest(wanted)
    try:
        stored = load(Stored, setting.results / "rows" / f"{made_from}.json", remake="autoseg_benchmark run")
    except ArtefactError:
        logger.debug("%s of %s is not there yet", wanted.name, wanted.program)
        return None
    return stored.row if stored.made_from == made_from else None


def keep_row(setting: Setting, wanted: Wanted, row: Row) -> None:
    """Store a finished row."""
    made_from = digest(wanted)
    save(Stored(made_from=made_from, row=row), setting.results / "rows" / f"{made_from}.json")
