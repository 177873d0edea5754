from pathlib import Path

import pytest

from autoseg.errors import PredictionError
from autoseg.prediction.inputs import find_cases, prediction_ending

BRATS = ("flair", "t1", "t1ce", "t2")


def touch(folder: Path, *names: str, content: bytes = b"") -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def found(path: Path, channels: tuple[str, ...] = ("MRI",)) -> dict[str, list[str]]:
    root = path if path.is_dir() else path.parent
    return {
        case.id: [str(Path(image).relative_to(root)) for image in case.images]
        for case in find_cases(path, channels=channels)
    }


def test_each_file_of_a_folder_is_a_case_and_litter_is_not(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii.gz", "a.nrrd", "._b.nii.gz", "notes.txt")
    assert found(tmp_path) == {"a": ["a.nrrd"], "b": ["b.nii.gz"]}


def test_a_single_file_is_a_case(tmp_path: Path) -> None:
    assert found(touch(tmp_path, "only.nii.gz") / "only.nii.gz") == {"only": ["only.nii.gz"]}


def test_files_numbered_as_nnunet_does_are_grouped(tmp_path: Path) -> None:
    touch(tmp_path, "x_0001.nii.gz", "x_0000.nii.gz", "y_2_0000.nii.gz", "y_2_0001.nii.gz")
    assert found(tmp_path, ("T1", "T2")) == {
        "x": ["x_0000.nii.gz", "x_0001.nii.gz"],
        "y_2": ["y_2_0000.nii.gz", "y_2_0001.nii.gz"],
    }


def test_one_channel_is_numbered_as_well(tmp_path: Path) -> None:
    assert found(touch(tmp_path, "x_0000.nii.gz", "y_0000.nii.gz")) == {"x": ["x_0000.nii.gz"], "y": ["y_0000.nii.gz"]}


def test_a_missing_numbered_channel_keeps_its_place(tmp_path: Path) -> None:
    touch(tmp_path, "x_0000.nii.gz", "x_0002.nii.gz")
    assert found(tmp_path, ("a", "b", "c")) == {"x": ["x_0000.nii.gz", "x_0001.nii.gz", "x_0002.nii.gz"]}


def test_a_file_beside_numbered_ones_is_a_case_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "x_0000.nii.gz", "x_0001.nii.gz", "whole.nii.gz")
    assert found(tmp_path, ("a", "b")) == {"whole": ["whole.nii.gz"], "x": ["x_0000.nii.gz", "x_0001.nii.gz"]}


@pytest.mark.parametrize("given", ["x_0000.nii.gz", "x_0001.nii.gz"])
def test_one_numbered_file_stands_for_its_case(tmp_path: Path, given: str) -> None:
    touch(tmp_path, "x_0000.nii.gz", "x_0001.nii.gz", "y_0000.nii.gz", "y_0001.nii.gz")
    assert found(tmp_path / given, ("a", "b")) == {"x": ["x_0000.nii.gz", "x_0001.nii.gz"]}


def test_one_sequence_stands_for_its_patient(tmp_path: Path) -> None:
    touch(tmp_path, *(f"P1_{name}.nii.gz" for name in (*BRATS, "seg")), "whole.nii.gz")
    assert found(tmp_path / "P1_t1.nii.gz", BRATS) == {"P1": [f"P1_{name}.nii.gz" for name in BRATS]}
    assert found(tmp_path / "whole.nii.gz", BRATS) == {"whole": ["whole.nii.gz"]}


def test_a_file_that_is_no_image_is_refused_as_that(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match=r"notes\.txt: not an image\. Known endings: \.nii\.gz"):
        find_cases(touch(tmp_path, "notes.txt") / "notes.txt", channels=("MRI",))


def test_numbered_pictures_are_cases_and_not_channels(tmp_path: Path) -> None:
    touch(tmp_path, "slice_0000.png", "slice_0001.png")
    assert found(tmp_path, ("grey",)) == {"slice_0000": ["slice_0000.png"], "slice_0001": ["slice_0001.png"]}


def test_volumes_numbered_from_one_are_cases_and_not_channels(tmp_path: Path) -> None:
    touch(tmp_path, "case_0001.nii.gz", "case_0002.nii.gz")
    assert found(tmp_path, ("FLAIR", "T1")) == {"case_0001": ["case_0001.nii.gz"], "case_0002": ["case_0002.nii.gz"]}


def test_a_year_at_the_end_of_a_name_is_no_channel(tmp_path: Path) -> None:
    assert found(touch(tmp_path, "scan_2018.nii.gz")) == {"scan_2018": ["scan_2018.nii.gz"]}


@pytest.mark.parametrize(
    "names",
    [
        ("_flair", "_t1", "_t1ce", "_t2"),
        ("-t2f", "-t1n", "-t1c", "-t2w"),
        ("_FLAIR", "_T1w", "_T1GD", "_T2w"),
    ],
)
def test_patients_folders_give_their_sequences_in_the_models_order_without_the_labels(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    touch(tmp_path, *(f"P1/P1{name}.nii.gz" for name in (*names, f"{names[0][0]}seg")))
    assert found(tmp_path, BRATS) == {"P1": [f"P1/P1{name}.nii.gz" for name in names]}
    turned = (BRATS[3], *BRATS[:3])
    assert found(tmp_path, turned)["P1"][0] == f"P1/P1{names[3]}.nii.gz"
    assert found(tmp_path / "P1", BRATS) == {"P1": [f"P1{name}.nii.gz" for name in names]}


def test_each_folder_with_a_dicom_series_is_a_case(tmp_path: Path) -> None:
    touch(tmp_path, "one/1.dcm", "one/2.dcm")
    touch(tmp_path, "two/IM0001", "two/IM0002", content=bytes(128) + b"DICM")
    touch(tmp_path, "notes/readme.txt")
    assert found(tmp_path) == {"one": ["one"], "two": ["two"]}
    assert list(found(tmp_path / "one")) == ["one"]


@pytest.mark.parametrize("content", [[], ["readme.txt"], ["inner/deeper/x.nii.gz"]])
def test_a_folder_without_images_is_refused_saying_what_was_expected(tmp_path: Path, content: list[str]) -> None:
    touch(tmp_path, *content)
    with pytest.raises(PredictionError, match=r"no images found.*CASE_0000.*\.nrrd"):
        find_cases(tmp_path, channels=("MRI",))


def test_series_that_lie_one_folder_deeper_are_named_with_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path, "p1/FLAIR/1.dcm", "p1/T1/1.dcm")
    with pytest.raises(PredictionError, match=r"DICOM series lie deeper \(p1.FLAIR\): .*--channel NAME=FLAIR"):
        find_cases(tmp_path, channels=("MRI",))


def test_predictions_that_lie_among_the_patients_are_no_patient(tmp_path: Path) -> None:
    touch(tmp_path, "p1/p1.nii.gz", "out/p1.nii.gz", "out/prediction.json")
    assert found(tmp_path) == {"p1": ["p1/p1.nii.gz"]}


def test_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="nowhere: not found"):
        find_cases(tmp_path / "nowhere", channels=("MRI",))


def test_two_cases_with_the_same_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "a.nrrd")
    with pytest.raises(PredictionError, match=r"two cases are called a: .*a\.nii\.gz and .*a\.nrrd"):
        find_cases(tmp_path, channels=("MRI",))


@pytest.mark.parametrize(
    ("image", "ending"),
    [
        ("x.nii.gz", ".nii.gz"),
        ("x.NII", ".nii"),
        ("x.nrrd", ".nrrd"),
        ("x.mhd", ".nii.gz"),
        ("x.png", ".png"),
        ("x.jpg", ".png"),
        ("x.tif", ".tif"),
        ("x.dcm", ".nii.gz"),
    ],
)
def test_a_prediction_has_the_ending_of_its_image_where_that_format_holds_labels(image: str, ending: str) -> None:
    assert prediction_ending(Path(image)) == ending


def test_the_prediction_of_a_dicom_series_is_nifti(tmp_path: Path) -> None:
    assert prediction_ending(tmp_path) == ".nii.gz"
