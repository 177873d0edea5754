"""Looking up a choice that is a name in a table of functions, or `package.module:function` of a third party."""

from collections.abc import Mapping
from importlib import import_module
from typing import TypeVar

from autoseg.errors import UnknownNameError, unknown_name

T = TypeVar("T")


def resolve(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of `table` called `name`, or the object that `package.module:attribute` names.

    `kind` is the singular noun used in the message ("loss", "network"). Raises UnknownNameError with the nearest
    known name when there is no such entry, and when the module or its attribute does not exist.
    """
    if name in table:
        return table[name]
    if ":" not in name:
        raise unknown_name(kind, name, table)
    module_name, _, attribute = name.partition(":")
    try:
        found: T = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UnknownNameError(
            f"{kind} {name!r} cannot be imported: {error}. Expected package.module:function on the Python path."
        ) from error
    return found
