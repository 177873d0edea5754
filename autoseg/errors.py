"""What can go wrong through the user's input, each with one message that says what to do."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MOST_NEAR, MOST_OTHERS = 3, 12
"""So many names like an unknown one, and so many others, stand in its message."""


class AutosegError(Exception):
    """The user's input is at fault: commands print the message alone and exit with code 2."""


class DatasetError(AutosegError):
    """A folder, list or dataset.json does not describe a data set that can be used."""


class ImageError(AutosegError):
    """An image or label file is missing, truncated, of an unknown format, or on another grid."""


class LabelError(AutosegError):
    """A label scheme contradicts itself, or a label map holds a value that it does not declare."""


class ArtefactError(AutosegError):
    """A file written by autoseg (plan, fingerprint, model, ...) is missing, damaged or edited wrongly."""


class StaleError(ArtefactError):
    """An artefact was made from something that has changed since."""


class WorkspaceError(AutosegError):
    """The workspace cannot be read or written, or does not hold what was asked for."""


class PlanError(AutosegError):
    """A plan cannot be made, or a value set by hand does not fit it."""


class UnknownNameError(AutosegError):
    """A name (configuration, fold, template, setting, ...) that is not in its table."""


class RepeatedError(AutosegError):
    """Another process of the same training has met the very same error, and has told the user."""


class TrainingError(AutosegError):
    """Training cannot start or go on with what it was given."""


class PredictionError(AutosegError):
    """A model and the images it is to predict do not fit together."""


class EvaluationError(AutosegError):
    """Predictions and references do not fit together."""


class SelectionError(AutosegError):
    """There is nothing to choose from, or what was chosen is not there any more."""


class SurvivalError(AutosegError):
    """A clinical table, features or a survival model are not what they should be."""


class ViewerError(AutosegError):
    """There is nothing to show, or what shows it is not there."""


class BenchmarkError(AutosegError):
    """A benchmark cannot be run with what it was given."""


def listed(names: Sequence[str], *, most: int = 5, between: str = ", ") -> str:
    """Names as they stand in a message: the first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def number_of(count: int, noun: str) -> str:
    """A count as it stands in a message: 1 case, 2 cases. The `noun` is one that takes an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a `name` outside `known`, with the nearest known name first.

    `kind` says what was looked up, as it should stand in the message: "configuration", "template". Of many names the
    nearest and some others are listed.
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=MOST_NEAR, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    if len(names) > MOST_NEAR + MOST_OTHERS:
        names = [*close, *(other for other in names if other not in close)]
    shown = listed(names, most=MOST_NEAR + MOST_OTHERS) if names else "none"
    return UnknownNameError(f"unknown {kind} {name!r}.{hint} Known: {shown}.")
