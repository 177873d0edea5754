"""Which cases lie in what the user gave to predict."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from autoseg.data.dataset import Case
from autoseg.data.layouts.nnunet import channel_files
from autoseg.data.readers import PICTURE_ENDINGS, READERS, image_ending, image_stem, is_image
from autoseg.errors import PredictionError
from autoseg.prediction.report import REPORT_FILE

SEQUENCES = (
    ("flair", "t2f", "t2-flair", "t2_flair"),
    ("t1", "t1w", "t1n"),
    ("t1ce", "t1c", "t1gd", "t1post", "t1wce", "t1-gd"),
    ("t2", "t2w"),
)
"""Names of the same MR sequence in different data sets."""

DICOM = "DICM"
LISTS = (".json", ".csv")
"""Endings of files that list the cases of a data set."""
_MOST_CHANNELS = 100  # larger numbers at the end of a name count something else than channels


def find_cases(path: Path, *, channels: Sequence[str]) -> list[Case]:
    """The cases at `path`, sorted by id; their image paths are absolute.

    Understood are an image file (with those of its other channels beside it); a folder of them, with all channels in one
    file or one file a channel, numbered as nnU-Net does (`CASE_0000`) or ending in a name of the channel (`CASE_flair`); a
    folder with one such folder a patient; a DICOM series or a folder of them; a data set with dataset.json (its test cases,
    or all if it has none). Channels are put into the order of `channels`; one that is not there keeps its place, with the
    name its file would have.

    Raises PredictionError when nothing is there, or two cases have the same name.
    """
    refuse_missing(path)
    root = path.absolute()
    cases = [_of_file(root, channels)] if root.is_file() and is_image(root) else _in_folder(root, channels)
    if not cases:
        raise PredictionError(
            f"input {path}: no images found. Expected an image file, a folder of images (CASE.nii.gz, CASE_0000.nii.gz), "
            f"of patients' folders or of DICOM series. Known endings: {', '.join(READERS)}.{_on_deeper_series(root)}"
        )
    return _sorted_and_distinct(cases)


def refuse_missing(path: Path) -> None:
    """Raise PredictionError where nothing is at `path`, naming what of the path is there and what lies beside it."""
    if path.exists():
        return
    there = next((parent for parent in path.absolute().parents if parent.is_dir()), None)
    beside = sorted(entry.name for entry in there.iterdir() if not entry.name.startswith("."))[:8] if there else []
    close = get_close_matches(path.absolute().relative_to(there).parts[0], beside, n=1) if there else []
    hint = f" Did you mean {there / close[0]}?" if there and close else ""
    listed = f" {there} holds {', '.join(beside) or 'nothing'}." if there else ""
    raise PredictionError(
        f"input {path}: not found.{hint}{listed} Give an image, or a folder of images or patients, with -i."
    )


def prediction_ending(image: Path) -> str:
    """The ending of the file that holds the prediction for `image`: the same where that format can hold labels."""
    if image.is_dir():
        return ".nii.gz"
    ending = image_ending(image)
    reader = READERS[ending]
    if reader.write is not None and reader.keeps_values:
        return ending
    return ".png" if ending in PICTURE_ENDINGS else ".nii.gz"


def _of_file(image: Path, channels: Sequence[str]) -> Case:
    """The case that an image file belongs to: with the files of its other channels, if its name says that it is one."""
    images = [file for file in sorted(image.parent.iterdir()) if file.is_file() and is_image(file)]
    return next(
        (case for case in _grouped(images, channels) if str(image) in case.images), _case(image_stem(image), [image])
    )


def _in_folder(folder: Path, channels: Sequence[str]) -> list[Case]:
    if folder.is_file() and folder.suffix.lower() not in LISTS:
        raise PredictionError(f"input {folder}: not an image. Known endings: {', '.join(READERS)}.")
    if folder.is_file() or (folder / "dataset.json").is_file():
        return _of_dataset(folder)
    if is_series(folder):
        return [_case(folder.name, [folder])]
    images = [file for file in sorted(folder.iterdir()) if file.is_file() and is_image(file)]
    if images:
        return _grouped(images, channels)
    return [case for inner in _patients(folder) for case in _of_patient(inner, channels)]


def _patients(folder: Path) -> list[Path]:
    """The folders in `folder`, without those of earlier predictions."""
    return [inner for inner in sorted(folder.iterdir()) if _is_open_folder(inner) and not (inner / REPORT_FILE).is_file()]


def _on_deeper_series(root: Path) -> str:
    """What to do about DICOM series that lie one folder too deep; empty where there are none."""
    if not root.is_dir():
        return ""
    inner = (series for patient in _patients(root) for series in sorted(patient.iterdir()))
    found = next((series for series in inner if _is_open_folder(series) and is_series(series)), None)
    if found is None:
        return ""
    place = found.relative_to(root)
    return f" DICOM series lie deeper ({place}): assign them with --channel NAME={place.name}, one for each channel."


def _of_patient(folder: Path, channels: Sequence[str]) -> list[Case]:
    if is_series(folder):
        return [_case(folder.name, [folder])]
    images = [file for file in sorted(folder.iterdir()) if file.is_file() and is_image(file)]
    return _grouped(images, channels) if images else []


def _of_dataset(place: Path) -> list[Case]:
    from autoseg.data.layouts import recognise

    dataset = recognise(place)
    cases = dataset.test_cases or dataset.cases
    return [_case(case.id, [path.absolute() for path in case.image_paths(dataset.folder)]) for case in cases]


def is_series(folder: Path) -> bool:
    """Whether `folder` directly holds DICOM slices, judged by its first file."""
    first = next((file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")), None)
    if first is None:
        return False
    with first.open("rb") as file:
        return first.suffix.lower() == ".dcm" or file.read(132)[128:] == DICOM.encode()


def _is_open_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _grouped(images: Sequence[Path], channels: Sequence[str]) -> list[Case]:
    """The cases that image files of one folder make up."""
    return _by_channel_name(images, channels) or _by_number(images, channels) or [_case(image_stem(f), [f]) for f in images]


def _by_channel_name(images: Sequence[Path], channels: Sequence[str]) -> list[Case]:
    """Cases of files that end in the name of a channel; none if there are no such files, or only one channel."""
    if len(channels) < 2:
        return []
    endings = {alias: index for index, channel in enumerate(channels) for alias in _aliases(channel)}
    found: dict[str, dict[int, Path]] = {}
    for image in images:
        stem = image_stem(image)
        matching = [alias for alias in endings if stem.lower().endswith((f"_{alias}", f"-{alias}"))]
        if matching:
            alias = max(matching, key=len)
            found.setdefault(stem[: -len(alias) - 1], {})[endings[alias]] = image
    return [_case(name, _with_expected(files, stem=name, channels=channels)) for name, files in found.items()]


def _with_expected(files: Mapping[int, Path], *, stem: str, channels: Sequence[str]) -> list[Path]:
    """One path a channel; where none was found, the name that the file would have."""
    some = next(iter(files.values()))
    ending = some.name[len(image_stem(some)) :]
    separator = some.name[len(stem)]
    return [files.get(index, some.with_name(f"{stem}{separator}{name}{ending}")) for index, name in enumerate(channels)]


def _aliases(channel: str) -> Iterable[str]:
    same = [names for names in SEQUENCES if channel.lower() in names]
    return {channel.lower(), *(same[0] if same else ())}


def _by_number(images: Sequence[Path], channels: Sequence[str]) -> list[Case]:
    """Cases of files numbered by channel from 0000, and each other file as a case; none if no file is numbered so.

    Pictures are often numbered themselves, so their numbers must be those of the channels. Numbers that nowhere begin
    at 0000 count cases.
    """
    found = channel_files(images)
    numbers = [index for files in found.values() for index in files]
    most = len(channels) if image_ending(images[0]) in PICTURE_ENDINGS else _MOST_CHANNELS
    if 0 not in numbers or max(numbers) >= most:
        return []
    numbered = {file for files in found.values() for file in files.values()}
    return [_case(name, _without_gaps(files, least=len(channels))) for name, files in found.items()] + [
        _case(image_stem(file), [file]) for file in images if file not in numbered
    ]


def _without_gaps(files: Mapping[int, Path], *, least: int) -> list[Path]:
    """One path a channel from 0 to the last, at least so many; a missing file keeps its place."""
    some = next(iter(files.values()))
    prefix, ending = image_stem(some)[:-4], some.name[len(image_stem(some)) :]
    count = max(least, *(index + 1 for index in files))
    return [files.get(index, some.with_name(f"{prefix}{index:04d}{ending}")) for index in range(count)]


def _case(name: str, paths: Sequence[Path]) -> Case:
    return Case(id=name, images=tuple(str(path) for path in paths))


def _sorted_and_distinct(cases: Sequence[Case]) -> list[Case]:
    known: dict[str, Case] = {}
    for case in cases:
        if case.id in known:
            raise PredictionError(
                f"two cases are called {case.id}: {known[case.id].images[0]} and {case.images[0]}. Rename or remove one."
            )
        known[case.id] = case
    return [known[name] for name in sorted(known)]
