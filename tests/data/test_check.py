from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoseg.data.check import (
    Problem,
    channel_range,
    check_content,
    check_headers,
    count_values,
    has_errors,
    unreadable_file,
)
from autoseg.data.dataset import Case, Dataset
from autoseg.data.headers import read_headers
from autoseg.data.image import Geometry, Image
from autoseg.data.labels import Label, LabelScheme
from autoseg.data.layouts import recognise
from autoseg.data.readers import read_case, read_labels
from autoseg.errors import ImageError
from tests.data.scans import SHAPE, a_label_map, a_scan, write_decathlon, write_nifti, write_nnunet

TUMOUR = LabelScheme(
    labels=(Label(name="background", value=0), Label(name="edema", value=2), Label(name="enhancing", value=4)), ignore=9
)
CASE = Case(id="a", images=("a_t1.nii.gz", "a_t2.nii.gz"), label="a_seg.nii.gz")
GRID = Geometry(SHAPE, (3.0, 2.0, 1.5), np.diag([1.5, 2.0, 3.0, 1.0]))


def _fields(problems: list[Problem]) -> list[tuple[str, str, str]]:
    return [(problem.severity, problem.case, problem.field) for problem in problems]


def _content(image: Image | None = None, labels: np.ndarray | None = None) -> list[Problem]:
    ranges = None if image is None else [channel_range(channel) for channel in image.voxels]
    counts = None if labels is None else count_values(labels)
    return check_content(CASE, ranges=ranges, counts=counts, scheme=TUMOUR, channels=("t1", "t2"))


def test_a_sound_data_set_has_no_problem(tmp_path: Path) -> None:
    assert check_headers(recognise(write_decathlon(tmp_path / "sound"))) == []


def test_all_problems_in_headers_are_reported_at_once_with_file_field_and_both_values(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path / "Dataset001_Test", cases=6)
    usual = np.diag([1.5, 2.0, 3.0, 1.0])
    write_nifti(folder / "imagesTr/case_000_0001.nii.gz", a_scan()[:2])
    write_nifti(folder / "labelsTr/case_001.nii.gz", a_label_map(), affine=np.diag([1.5, 2.0, 4.0, 1.0]))
    (folder / "imagesTr/case_002_0000.nii.gz").write_bytes(b"")
    (folder / "imagesTr/case_003_0000.nii.gz").unlink()
    (folder / "labelsTr/case_004.nii.gz").unlink()
    drifted = usual.copy()
    drifted[0, 3] = 0.0004
    write_nifti(folder / "labelsTr/case_005.nii.gz", a_label_map(), affine=drifted)

    problems = check_headers(recognise(folder))

    assert _fields(problems) == [
        ("error", "case_000", "shape"),
        ("error", "case_001", "spacing"),
        ("error", "case_002", "file"),
        ("error", "case_003", "channel missing"),
        ("error", "case_004", "label missing"),
        ("warning", "case_005", "origin"),
    ]
    assert problems[0].file == "imagesTr/case_000_0001.nii.gz"
    assert problems[0].found == "2 x 4 x 5"
    assert problems[0].expected == "3 x 4 x 5 as in imagesTr/case_000_0000.nii.gz"
    assert (problems[1].found, problems[1].expected[:11]) == ("4 x 2 x 1.5", "3 x 2 x 1.5")
    assert has_errors(problems)
    assert not has_errors(problems[-1:])


def test_direction_and_origin_differences_are_told_apart(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "turned", cases=2)
    write_nifti(folder / "labelsTr/case_0.nii.gz", a_label_map(), affine=np.diag([-1.5, 2.0, 3.0, 1.0]))
    moved = np.diag([1.5, 2.0, 3.0, 1.0])
    moved[2, 3] = 10
    write_nifti(folder / "labelsTr/case_1.nii.gz", a_label_map(), affine=moved)
    problems = check_headers(recognise(folder))
    assert _fields(problems) == [("error", "case_0", "direction"), ("error", "case_1", "origin")]
    assert problems[1].found == "0 x 0 x 10"


def test_a_file_with_fewer_channels_than_declared_is_a_missing_channel(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "channels", channels=3)
    write_nifti(folder / "imagesTr/case_1.nii.gz", a_scan(channels=2))
    (problem,) = check_headers(recognise(folder))
    assert (problem.field, problem.found, problem.expected) == ("channel missing", "2 channels", "3 (MR0, MR1, MR2)")


def test_a_case_named_twice_and_an_image_used_twice_are_errors(tmp_path: Path) -> None:
    sound = recognise(write_decathlon(tmp_path / "sound"))
    twice = sound.model_copy(update={"cases": (*sound.cases, sound.cases[0])})
    shared = sound.cases[1].model_copy(update={"id": "copy"})
    reused = sound.model_copy(update={"cases": (*sound.cases, shared)})
    assert _fields(check_headers(twice)) == [("error", "case_0", "duplicate case")]
    assert _fields(check_headers(reused)) == [("error", "copy", "duplicate image")]


def test_an_image_without_voxels_and_a_spacing_of_zero_are_errors(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "empty", cases=2)
    path = write_nifti(folder / "imagesTr/case_0.nii", a_scan())
    raw = bytearray(path.read_bytes())
    raw[80:84] = np.float32(0).tobytes()  # pixdim[1]
    path.write_bytes(raw)
    zero = write_nifti(folder / "imagesTr/case_1.nii", a_scan())
    raw = bytearray(zero.read_bytes())
    raw[42:44] = np.int16(0).tobytes()  # dim[1]
    zero.write_bytes(raw)
    sound = recognise(folder)
    cases = tuple(Case(id=case.id, images=(case.images[0].removesuffix(".gz"),), label=None) for case in sound.cases)
    problems = check_headers(sound.model_copy(update={"cases": cases}))
    assert _fields(problems) == [("error", "case_0", "spacing"), ("error", "case_1", "empty image")]


def test_a_data_set_without_labels_cannot_be_trained_on(tmp_path: Path) -> None:
    sound = recognise(write_decathlon(tmp_path / "sound"))
    unlabelled = sound.model_copy(update={"cases": (), "test_cases": sound.cases})
    (problem,) = check_headers(unlabelled)
    assert problem.severity == "error"
    assert problem.found == "3 cases, none of them with a label map"


def test_an_undeclared_label_is_an_error_with_value_voxel_count_and_file() -> None:
    labels = a_label_map((0, 2, 3, 9))
    (problem,) = _content(labels=labels)
    assert (problem.severity, problem.file) == ("error", "a_seg.nii.gz")
    assert problem.found == "3 (15 voxels)"
    assert problem.expected == "one of 0, 2, 4, 9"
    assert "a_seg.nii.gz: undeclared label: found 3 (15 voxels), expected one of 0, 2, 4, 9" in problem.message


def test_a_case_without_foreground_is_a_warning() -> None:
    assert _fields(_content(labels=a_label_map((0,)))) == [("warning", "a", "foreground")]
    assert _fields(_content(labels=a_label_map((0, 9)))) == [("warning", "a", "foreground")]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_counted_in_their_channel(wrong: float) -> None:
    voxels = np.stack([a_scan(0), a_scan(1)]).astype(np.float32)
    voxels[1, 0, 0, :2] = wrong
    (problem,) = _content(Image(voxels, GRID))
    assert (problem.severity, problem.file, problem.field) == ("error", "a_t2.nii.gz", "NaN or infinity")
    assert problem.found == "2 voxels NaN or infinite in channel t2"


def test_one_channel_without_contrast_is_a_warning_and_an_image_without_any_an_error() -> None:
    half = Image(np.stack([a_scan(0), np.zeros(SHAPE, np.int16)]), GRID)
    none = Image(np.zeros((2, *SHAPE), np.int16), GRID)
    assert _fields(_content(half)) == [("warning", "a", "empty image")]
    assert _fields(_content(none)) == [("error", "a", "empty image")] * 2


def test_a_sound_case_has_no_problem_in_its_voxels() -> None:
    assert _content(Image(np.stack([a_scan(0), a_scan(1)]), GRID), a_label_map((0, 2, 4))) == []


def test_a_file_that_turns_out_unreadable_becomes_a_problem() -> None:
    problem = unreadable_file(CASE, CASE.images[0], ImageError("a_t1.nii.gz: it is truncated"))
    assert (problem.severity, problem.found) == ("error", "it is truncated")


def test_the_advice_of_the_error_is_kept_and_the_file_is_named_once() -> None:
    problem = unreadable_file(CASE, "a_seg.nii.gz", ImageError("/raw/a_seg.nii.gz: 3 fractions, such as 0.5. Ask nearest."))
    assert problem.message.endswith("found 3 fractions, such as 0.5, expected a readable label map. Ask nearest.")


@settings(max_examples=50, deadline=None)
@given(arrays(st.sampled_from([np.uint8, np.int16, np.int32]), (3, 4), elements=st.integers(0, 100)), st.integers(-5, 5))
def test_counting_values_agrees_with_numpy(labels: np.ndarray, shift: int) -> None:
    shifted = labels.astype(np.int32) + shift
    values, counts = np.unique(shifted, return_counts=True)
    assert count_values(shifted) == dict(zip(values.tolist(), counts.tolist(), strict=True))


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["Task04_Hippocampus", "BraTS2018", "em_membrane_2d"])
def test_real_data_sets_are_sound(shared_data: Path, name: str) -> None:
    dataset: Dataset = recognise(shared_data / name)
    assert check_headers(dataset, headers=read_headers(dataset)) == []
    case = dataset.cases[0]
    label = case.label_path(dataset.folder)
    assert label is not None
    problems = check_content(
        case,
        ranges=[channel_range(channel) for channel in read_case(case, dataset.folder, channels=dataset.channels).voxels],
        counts=count_values(read_labels(label)[0]),
        scheme=dataset.labels,
        channels=dataset.channels,
    )
    assert problems == []
