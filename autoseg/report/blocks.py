"""What a section of a report is made of: texts, lists of facts, tables and pictures, all plain values."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    rows: Sequence[tuple[str, str]]
    kind: str = "facts"


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what it shows, and the number it is sorted by (None: nothing to sort by, always last)."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first column names its rows. A sortable one can be sorted by any column."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    is_sortable: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Picture:
    """A PNG picture, the text that stands for it where it cannot be seen, and its caption."""

    png: bytes
    alt: str
    caption: str
    kind: str = "picture"

    @property
    def address(self) -> str:
        """The picture itself as an address, so that the page needs no other file."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


Block = Text | Facts | Table | Picture


def cells(*texts: str) -> list[Cell]:
    """Cells that show these texts."""
    return [Cell(text) for text in texts]


def number_cell(value: float | None, decimals: int) -> Cell:
    """A number, or a dash where it is undefined."""
    return Cell("–") if value is None else Cell(f"{value:.{decimals}f}", float(value))


def number_text(value: float | None, decimals: int) -> str:
    """A number in a sentence."""
    return "undefined" if value is None else f"{value:.{decimals}f}"
