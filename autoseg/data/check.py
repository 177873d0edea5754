"""What is wrong with a data set: all problems at once, each with file, field and both values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.data.dataset import Case, Dataset
from autoseg.data.formats.header import Header
from autoseg.data.headers import NOTHING, CaseHeaders, read_headers
from autoseg.data.image import Mismatch, compare_grids
from autoseg.data.labels import LabelScheme
from autoseg.errors import number_of

_PIECE = 1 << 20


class Problem(BaseModel):
    """One thing that is wrong: an "error" would make training wrong and stops the plan, a "warning" does not.

    `field` names what is concerned ("shape", "spacing", "label value", ...); `found` and `expected` are both values.
    """

    model_config = FROZEN
    severity: Literal["error", "warning"]
    case: str
    file: str
    field: str
    found: str
    expected: str
    advice: str

    @property
    def message(self) -> str:
        """The problem as one line of text."""
        return f"case {self.case}: {self.file}: {self.field}: found {self.found}, expected {self.expected}. {self.advice}"


def has_errors(problems: Sequence[Problem]) -> bool:
    """Whether any of the problems would make training wrong."""
    return any(problem.severity == "error" for problem in problems)


def check_headers(dataset: Dataset, *, headers: Sequence[CaseHeaders] | None = None) -> list[Problem]:
    """All problems that show without reading voxels, case by case; `headers` are read where they are not given."""
    known = read_headers(dataset) if headers is None else headers
    problems = _duplicates(dataset) if dataset.cases else [_nothing_to_train_on(dataset)]
    for one in known:
        problems += _unreadable_files(one)
        problems += _channel_count(one, dataset.channels)
        problems += _empty_grids(one)
        problems += _other_grids(one)
    return problems


def check_content(
    case: Case,
    *,
    ranges: Sequence["ChannelRange"] | None,
    counts: Mapping[int, int] | None,
    scheme: LabelScheme,
    channels: Sequence[str],
) -> list[Problem]:
    """All problems of one case that show in its voxels, from the range of each channel and the voxels of each label value.

    None stands for what was not read.

    An image without any contrast in any channel is an error (nothing remains after cropping to nonzero voxels), a single
    channel without contrast a warning: some data sets fill missing sequences with zeros.
    """
    problems = [] if ranges is None else _image_content(case, ranges, channels)
    if counts is not None:
        problems += _label_content(case, counts, scheme)
    return problems


@dataclass(frozen=True)
class ChannelRange:
    """The extremes of a channel; `not_numbers` counts voxels that are NaN or infinite."""

    lowest: float
    highest: float
    not_numbers: int


def channel_range(voxels: NDArray[np.generic]) -> ChannelRange:
    """The range of the voxels of one channel; that of an empty one is 0..0."""
    if not voxels.size:
        return ChannelRange(lowest=0, highest=0, not_numbers=0)
    lowest, highest = float(voxels.min()), float(voxels.max())
    # NaN and infinity reach the minimum or maximum, so that one pass finds them.
    is_finite = np.isfinite(lowest) and np.isfinite(highest)
    wrong = 0 if is_finite else int(voxels.size - np.count_nonzero(np.isfinite(voxels.astype(np.float64))))
    return ChannelRange(lowest=lowest, highest=highest, not_numbers=wrong)


def unreadable_file(case: Case, file: str, reason: Exception | str) -> Problem:
    """The problem of a file whose voxels could not be read, for an ImageError met on the way or its text."""
    # An ImageError names the file, says what is wrong, and ends with its advice: a problem has a field for each.
    found, _, advice = str(reason).rpartition(f"{file}: ")[2].partition(". ")
    expected = "a readable label map" if file == case.label else "a readable image"
    return _problem(
        "error", case, file, "file", found=found.rstrip("."), expected=expected, advice=advice or "Replace the file."
    )


def count_values(labels: NDArray[np.integer]) -> dict[int, int]:
    """Each value in a label map with its number of voxels, ascending."""
    if labels.size and int(labels.min()) >= 0 and (highest := int(labels.max())) < 1 << 16:
        flat = labels.reshape(-1)
        # Several times faster than sorting, and piece by piece, because each is copied as 64-bit integers.
        pieces = (flat[start : start + _PIECE] for start in range(0, len(flat), _PIECE))
        counts = sum(np.bincount(piece, minlength=highest + 1) for piece in pieces)
        assert isinstance(counts, np.ndarray), "there is at least one piece"
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, found = np.unique(labels, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, found, strict=True)}


def _problem(
    severity: Literal["error", "warning"], case: Case, file: str, field: str, *, found: str, expected: str, advice: str
) -> Problem:
    return Problem(severity=severity, case=case.id, file=file, field=field, found=found, expected=expected, advice=advice)


def _nothing_to_train_on(dataset: Dataset) -> Problem:
    return Problem(
        severity="error",
        case="(none)",
        file=dataset.root,
        field="cases",
        found=f"{number_of(len(dataset.test_cases), 'case')}, none of them with a label map",
        expected="cases with label maps",
        advice="Add label maps to train on.",
    )


def _duplicates(dataset: Dataset) -> list[Problem]:
    """Ids that occur twice, and image files that belong to more than one training case."""
    problems = []
    times = Counter(case.id for case in dataset.cases)
    owners: dict[str, str] = {}
    reported = set()
    for case in dataset.cases:
        if times[case.id] > 1 and case.id not in reported:
            reported.add(case.id)
            found = f"{times[case.id]} cases with this id"
            problems.append(_duplicate(case, "duplicate case", found=found, expected="each id once"))
        for image in dict.fromkeys(case.images):
            owner = owners.setdefault(image, case.id)
            if owner != case.id:
                found = f"{image} in the cases {owner} and {case.id}"
                problems.append(_duplicate(case, "duplicate image", found=found, expected="each image in one case"))
    return problems


def _duplicate(case: Case, field: str, *, found: str, expected: str) -> Problem:
    advice = "Remove one: copies on both sides of a split make the validation too good."
    return _problem("error", case, case.images[0], field, found=found, expected=expected, advice=advice)


def _unreadable_files(headers: CaseHeaders) -> list[Problem]:
    broken = [(file, header) for file, header in _files(headers) if isinstance(header, str)]
    return [
        _missing_file(headers.case, file) if reason == NOTHING else unreadable_file(headers.case, file, reason)
        for file, reason in broken
    ]


def _missing_file(case: Case, file: str) -> Problem:
    kind, expected = ("label", "a label map") if file == case.label else ("channel", "an image")
    advice = "Add the file, or remove the case."
    return _problem("error", case, file, f"{kind} missing", found=NOTHING, expected=expected, advice=advice)


def _channel_count(headers: CaseHeaders, channels: Sequence[str]) -> list[Problem]:
    found = [header.channels for header in headers.images if isinstance(header, Header)]
    if len(found) < len(headers.images):
        return []
    if sum(found) == len(channels) and (len(found) == 1 or max(found) == 1):
        return []
    case = headers.case
    return [
        _problem(
            "error",
            case,
            ", ".join(case.images),
            "channel missing" if sum(found) < len(channels) else "channels",
            found=number_of(sum(found), "channel"),
            expected=f"{len(channels)} ({', '.join(channels)})",
            advice="Every case needs the same channels in the same order.",
        )
    ]


def _files(headers: CaseHeaders) -> list[tuple[str, Header | str]]:
    """Every file of the case with its header, the label map last."""
    files = [*zip(headers.case.images, headers.images, strict=True)]
    if headers.case.label is not None and headers.label is not None:
        files.append((headers.case.label, headers.label))
    return files


def _empty_grids(headers: CaseHeaders) -> list[Problem]:
    case = headers.case
    problems = []
    for file, header in _files(headers):
        if isinstance(header, str):
            continue
        shape, spacing = header.geometry.shape, header.geometry.spacing_mm
        if min(shape) == 0 or header.channels == 0:
            found = " x ".join(map(str, shape))
            problems.append(
                _problem("error", case, file, "empty image", found=found, expected="voxels", advice="Replace the file.")
            )
        if not all(np.isfinite(size) and size > 0 for size in spacing):
            found = " x ".join(f"{size:g}" for size in spacing)
            advice = "Correct the voxel size in the header."
            problems.append(
                _problem("error", case, file, "spacing", found=found, expected="positive millimetres", advice=advice)
            )
    return problems


def _other_grids(headers: CaseHeaders) -> list[Problem]:
    """Differences between the first image and every other file of the case."""
    case = headers.case
    first = headers.images[0]
    if isinstance(first, str):
        return []
    return [
        _grid_problem(case, file, mismatch)
        for file, header in _files(headers)[1:]
        if isinstance(header, Header)
        for mismatch in compare_grids(first.geometry, header.geometry)
    ]


def _grid_problem(case: Case, file: str, mismatch: Mismatch) -> Problem:
    return _problem(
        "warning" if mismatch.is_drift else "error",
        case,
        file,
        mismatch.field,
        found=mismatch.second,
        expected=f"{mismatch.first} as in {case.images[0]}",
        advice="A rounding difference; it is ignored."
        if mismatch.is_drift
        else f"Resample the file onto the grid of {case.images[0]}, correct its header, or remove the case.",
    )


def _image_content(case: Case, ranges: Sequence[ChannelRange], channels: Sequence[str]) -> list[Problem]:
    problems, flat = [], []
    for index, (name, found) in enumerate(zip(channels, ranges, strict=True)):
        file = case.images[index if len(case.images) > 1 else 0]
        if found.not_numbers:
            wrong = f"{number_of(found.not_numbers, 'voxel')} NaN or infinite in channel {name}"
            advice = "Replace them, or remove the case."
            problems.append(
                _problem("error", case, file, "NaN or infinity", found=wrong, expected="numbers", advice=advice)
            )
        elif found.lowest == found.highest:
            flat.append((name, file, found.lowest))
    severity: Literal["error", "warning"] = "error" if len(flat) == len(ranges) else "warning"
    for name, file, value in flat:
        everywhere = f"{value:g} everywhere in channel {name}"
        advice = "Check the file." if severity == "warning" else "Replace the file, or remove the case."
        problems.append(_problem(severity, case, file, "empty image", found=everywhere, expected="an image", advice=advice))
    return problems


def _label_content(case: Case, counts: Mapping[int, int], scheme: LabelScheme) -> list[Problem]:
    file = case.label or ""
    foreground = {label.value for label in scheme.foreground}
    known = {label.value for label in scheme.labels} | ({scheme.ignore} if scheme.ignore is not None else set())
    problems = []
    for value in sorted(set(counts) - known):
        found = f"{value} ({number_of(counts[value], 'voxel')})"
        expected = "one of " + ", ".join(str(known_value) for known_value in sorted(known))
        advice = "Declare the value, or correct the label map."
        problems.append(_problem("error", case, file, "undeclared label", found=found, expected=expected, advice=advice))
    if not problems and not foreground & set(counts):
        advice = "Fine for a healthy case; otherwise check the label map."
        problems.append(
            _problem(
                "warning", case, file, "foreground", found="background only", expected="at least one label", advice=advice
            )
        )
    return problems
