"""Cases whose channels lie in folders of their own, as the user says: `NAME=DIR`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from autoseg.data.dataset import Case
from autoseg.data.readers import image_stem, is_image
from autoseg.errors import PredictionError, unknown_name
from autoseg.prediction.inputs import is_series


def cases_by_channel(assigned: Mapping[str, str], root: Path | None, *, channels: Sequence[str]) -> list[Case]:
    """The cases, sorted by id, that folders (or files) given for each channel make up.

    With a `root`, each folder is looked for in the root and, if it is not there, in each of the root's folders: these are
    then the patients; `*` in a name stands for anything. Without one, a folder that is no series itself holds one series
    or image for each patient, called alike in all of them; a series or an image alone is the only case.

    A patient who lacks a channel gets fewer images, which reading the case reports. Raises UnknownNameError for a channel
    that the model does not have, PredictionError where one is not given or found.
    """
    wanted = {name.lower(): name for name in channels}
    for name in assigned:
        if name.lower() not in wanted:
            raise unknown_name("channel", name, channels)
    given = {wanted[name.lower()]: place for name, place in assigned.items()}
    missing = [name for name in channels if name not in given]
    if missing:
        raise PredictionError(
            f"no folder is given for the channel {missing[0]}; the model expects {', '.join(channels)}. "
            f"Add --channel {missing[0]}=DIR."
        )
    found = {name: _by_patient(given[name], root, name) for name in channels}
    if any(None in patients for patients in found.values()):
        return [_only_case(found, channels)]
    patients = sorted({patient for of_channel in found.values() for patient in of_channel if patient is not None})
    return [_case(patient, [found[name][patient] for name in channels if patient in found[name]]) for patient in patients]


def _by_patient(place: str, root: Path | None, channel: str) -> dict[str | None, Path]:
    """Images of a channel by patient; None stands for the only one there is."""
    if root is None:
        return _inside(Path(place), channel)
    here = _matching(root, place, channel)
    if here is not None:
        return _inside(here, channel)
    folders = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    matching = {folder.name: _matching(folder, place, channel) for folder in folders}
    found: dict[str | None, Path] = {name: path for name, path in matching.items() if path is not None}
    if not found:
        raise PredictionError(f"--channel {channel}={place}: found neither in {root} nor in any of its folders.")
    return found


def _matching(folder: Path, pattern: str, channel: str) -> Path | None:
    found = [path for path in sorted(folder.glob(pattern)) if path.is_dir() or is_image(path)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise PredictionError(f"--channel {channel}={pattern} fits {len(found)} of {folder}: {names}. Name one of them.")
    return found[0] if found else None


def _inside(place: Path, channel: str) -> dict[str | None, Path]:
    if not place.exists():
        raise PredictionError(f"--channel {channel}={place}: not found.")
    if place.is_file() or is_series(place):
        return {None: place}
    found: dict[str | None, Path] = {}
    for entry in sorted(place.iterdir()):
        if entry.is_dir() and not entry.name.startswith(".") and is_series(entry):
            found[entry.name] = entry
        elif entry.is_file() and is_image(entry):
            found[image_stem(entry)] = entry
    if not found:
        raise PredictionError(f"--channel {channel}={place}: holds no DICOM series and no images.")
    return found


def _only_case(found: Mapping[str, Mapping[str | None, Path]], channels: Sequence[str]) -> Case:
    """The case of channels that are one image each, called after the folder that they share, or after the first."""
    several = [name for name in channels if None not in found[name]]
    if several:
        raise PredictionError(f"the channel {several[0]} holds several patients and others only one. Give folders alike.")
    images = [found[name][None] for name in channels]
    parents = {path.absolute().parent for path in images}
    first = images[0]
    name = parents.pop().name if len(parents) == 1 else image_stem(first) if first.is_file() else first.name
    return _case(name, images)


def _case(name: str, images: Sequence[Path]) -> Case:
    return Case(id=name, images=tuple(str(path.absolute()) for path in images))
