"""How a contract test finds the part to try and says which promise is broken."""

from collections.abc import Mapping
from typing import TypeVar

from autoseg.extend import resolve

T = TypeVar("T")


def named(kind: str, part: str | T, table: Mapping[str, T]) -> T:
    """The part itself, or what its name stands for. Raises UnknownNameError where it stands for nothing."""
    return resolve(kind, part, table) if isinstance(part, str) else part


def require(condition: object, message: str) -> None:
    """Raise AssertionError with the promise that is broken unless `condition` holds."""
    if not condition:
        raise AssertionError(message)
