"""How long work reports how far it is: a protocol that commands implement with bars and libraries leave silent."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Anything that can show how far a loop has come."""

    def track(self, items: Iterable[T], *, description: str, total: int) -> Iterator[T]:
        """Yield `items` unchanged while showing that so many of `total` are done."""
        ...


class Silent:
    """Shows nothing."""

    def track(self, items: Iterable[T], *, description: str, total: int) -> Iterator[T]:
        """Yield `items` unchanged."""
        yield from items


SILENT: Progress = Silent()
