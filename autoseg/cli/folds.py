"""Folds and lists on the command line: `-f 0 1 2`, `-f 0,1,2`, `-f 0 -f 1` and `-f all` mean what they seem to."""

import re
from collections.abc import Iterator, Sequence

from autoseg.errors import PredictionError

FOLD_OPTIONS = ("-f", "--fold")

LIST_OPTIONS = ("--configurations", "--recipes", "--folds", "--classes")
"""Options that all words up to the next option belong to."""

WEIGHTS = "--weights"
"""An option that all numbers after it belong to."""

_FOLD = re.compile(r"all|\d+(,\d+)*")
_NUMBERS = re.compile(r"-?\d*\.?\d+(,-?\d*\.?\d+)*")
_ANY = re.compile(r"[^-].*")


def spread(words: Sequence[str]) -> list[str]:
    """The words of a command line with `-f` before each of the folds that follow one; parsers take one value each.

    Options that take lists stand before each of their words in the same way.
    """
    return list(_spread(words))


def _spread(words: Sequence[str]) -> Iterator[str]:
    patterns = dict.fromkeys(FOLD_OPTIONS, _FOLD) | dict.fromkeys(LIST_OPTIONS, _ANY) | {WEIGHTS: _NUMBERS}
    option = None
    is_first = False
    for word in words:
        if word in patterns:
            option, is_first = word, True
        elif option is not None and not is_first:
            if patterns[option].fullmatch(word):
                yield option
            else:
                option = None
        else:
            is_first = False
        yield word


def fold_names(texts: Sequence[str] | None) -> list[str]:
    """The folds that all values of the option name, commas taken apart."""
    return words(texts)


def words(texts: Sequence[str] | None) -> list[str]:
    """The words that all values of an option name, commas taken apart."""
    return [part for text in texts or () for part in text.split(",") if part]


def numbers(option: str, texts: Sequence[str] | None) -> list[float] | None:
    """The numbers that all values of an option name, None where it is not given. Raises PredictionError for other words."""
    found = []
    for word in words(texts):
        try:
            found.append(float(word))
        except ValueError as error:
            raise PredictionError(f"{option}: expected numbers such as 2 1, found {word!r}.") from error
    return found or None
