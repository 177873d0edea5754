"""Folds and lists on the command line: `-f 0 1 2`, `-f 0,1,2`, `-f 0 -f 1` and `-f all` mean what they seem to."""

import re
from collections.abc import Iterator, Sequence

from autoseg.errors import PredictionError

FOLD_OPTIONS = ("-f", "--fold")

LIST_OPTIONS = ("--configurations", "--recipes", "--folds", "--weights", "--classes")
"""Options that all words up to the next option belong to."""

_FOLD = re.compile(r"all|\d+(,\d+)*")
_NUMBER = re.compile(r"-\d*\.?\d+")


def spread(words: Sequence[str]) -> list[str]:
    """The words of a command line with `-f` before each of the folds that follow one; parsers take one value each.

    Options that take lists stand before each of their words in the same way.
    """
    return list(_spread(words))


def _spread(words: Sequence[str]) -> Iterator[str]:
    option = None
    is_first = False
    for word in words:
        if word in FOLD_OPTIONS or word in LIST_OPTIONS:
            option, is_first = word, True
        elif option is not None and not is_first:
            in_list = not word.startswith("-") or bool(_NUMBER.fullmatch(word))
            if (option in LIST_OPTIONS and in_list) or _FOLD.fullmatch(word):
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
