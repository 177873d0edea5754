from pathlib import Path

import pytest

from autoseg.data.layouts import recognise
from autoseg.errors import DatasetError
from tests.data.scans import a_label_map, a_scan, write_decathlon, write_json, write_nifti


def test_cases_carry_the_names_of_their_files(tmp_path: Path) -> None:
    found = recognise(write_decathlon(tmp_path, channels=2))
    assert found.layout == "msd"
    assert [case.id for case in found.cases] == ["case_0", "case_1", "case_2"]
    assert found.cases[0].images == ("imagesTr/case_0.nii.gz",)
    assert found.cases[0].label == "labelsTr/case_0.nii.gz"
    assert found.channels == ("MR0", "MR1")
    assert (found.reference, found.licence) == ("A hospital", "CC0")


def test_test_images_take_labels_that_lie_beside_them_and_absent_ones_are_left_out(tmp_path: Path) -> None:
    write_nifti(tmp_path / "imagesTs/t_1.nii.gz", a_scan())
    write_nifti(tmp_path / "imagesTs/t_2.nii.gz", a_scan())
    write_nifti(tmp_path / "labelsTs/t_2.nii.gz", a_label_map())
    test = ["./imagesTs/t_1.nii.gz", {"image": "imagesTs/t_2.nii.gz"}, "./imagesTs/gone.nii.gz"]
    found = recognise(write_decathlon(tmp_path, test=test))
    assert [(case.id, case.label) for case in found.test_cases] == [("t_1", None), ("t_2", "labelsTs/t_2.nii.gz")]


def test_labels_are_read_with_values_as_keys_or_as_values(tmp_path: Path) -> None:
    one = recognise(write_decathlon(tmp_path / "a", labels={"0": "background", "7": "x", "3": "y"}))
    other = recognise(write_decathlon(tmp_path / "b", labels={"background": 0, "x": 7, "y": 3}))
    assert one.labels == other.labels
    assert [(label.name, label.value) for label in one.labels.labels] == [("background", 0), ("y", 3), ("x", 7)]


def test_a_case_number_of_four_digits_is_not_taken_for_a_channel(tmp_path: Path) -> None:
    for part, voxels in (("images", a_scan()), ("labels", a_label_map())):
        write_nifti(tmp_path / f"{part}Tr/liver_0001.nii.gz", voxels)
    training = [{"image": "imagesTr/liver_0001.nii.gz", "label": "labelsTr/liver_0001.nii.gz"}]
    found = recognise(write_decathlon(tmp_path, cases=0, training=training))
    assert (found.layout, found.cases[0].id) == ("msd", "liver_0001")


def test_a_dataset_json_that_is_not_json_is_named_with_its_line(tmp_path: Path) -> None:
    write_decathlon(tmp_path)
    (tmp_path / "dataset.json").write_text('{"name": "x",\n "labels": }')
    with pytest.raises(DatasetError, match=r"dataset\.json: not JSON \(line 2, column 12: Expecting value\)"):
        recognise(tmp_path)


@pytest.mark.parametrize("key", ["modality", "labels", "training"])
def test_a_key_that_is_missing_is_named(tmp_path: Path, key: str) -> None:
    write_decathlon(tmp_path, **{key: None})
    with pytest.raises(DatasetError, match=rf"dataset\.json: the key '{key}' is missing. Found: 'name'"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modality": "MRI"}, "modality: expected an object, found 'MRI'"),
        ({"modality": {"1": "MRI"}}, 'modality: expected {"0": name'),
        ({"labels": {"background": 0, "x": "one"}}, "labels.x: expected an integer or a list of integers, found 'one'"),
        ({"labels": {"background": 0, "x": 1, "y": 1}}, "labels: label value 1 is declared twice"),
        ({"labels": {"0": "background"}}, "labels: at least a background and one label are needed"),
        ({"training": [{"image": "a.nii.gz"}]}, "training.0: expected an object with 'image' and 'label'"),
        ({"test": [3]}, "test.0: expected the path of an image, found 3"),
    ],
)
def test_a_key_with_a_wrong_value_is_named_with_what_was_found(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    write_decathlon(tmp_path, **changes)
    with pytest.raises(DatasetError) as caught:
        recognise(tmp_path)
    assert f"{tmp_path / 'dataset.json'}: {message}" in str(caught.value)


def test_files_that_dataset_json_names_but_that_are_not_there_are_listed_with_their_keys(tmp_path: Path) -> None:
    write_decathlon(tmp_path, cases=14)
    (tmp_path / "labelsTr/case_3.nii.gz").unlink()
    with pytest.raises(
        DatasetError, match=r"it names what is not there \(1 file\):\n  training\.3\.label: labelsTr/case_3\.nii\.gz"
    ):
        recognise(tmp_path)
    for file in (tmp_path / "imagesTr").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match=r"\(15 files\):(.|\n)*training\.0\.image: imagesTr/case_0(.|\n)*and 5 more"):
        recognise(tmp_path)


def test_a_dataset_json_without_the_background_gets_one(tmp_path: Path) -> None:
    found = recognise(write_decathlon(tmp_path, labels={"1": "organ"}))
    assert [(label.name, label.value) for label in found.labels.labels] == [("background", 0), ("organ", 1)]


def test_a_foreign_dataset_json_is_no_data_set(tmp_path: Path) -> None:
    write_json(tmp_path / "dataset.json", {"rows": []})
    with pytest.raises(DatasetError, match=r"msd: dataset\.json has neither of the keys 'modality' and 'training'"):
        recognise(tmp_path)


def test_files_may_have_another_ending_than_the_one_that_is_named(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path, cases=2)
    (folder / "labelsTr/case_0.nii.gz").unlink()
    write_nifti(folder / "labelsTr/case_0.nii", a_label_map())
    (folder / "imagesTr/case_1.nii.gz").unlink()
    write_nifti(folder / "imagesTr/case_1.nii", a_scan())
    first, second = recognise(folder).cases
    assert (first.images, first.label) == (("imagesTr/case_0.nii.gz",), "labelsTr/case_0.nii")
    assert (second.images, second.label) == (("imagesTr/case_1.nii",), "labelsTr/case_1.nii.gz")


def test_a_name_with_two_other_endings_is_missing_as_nobody_knows_which_is_meant(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path, cases=1)
    (folder / "labelsTr/case_0.nii.gz").rename(folder / "labelsTr/case_0.nrrd")
    write_nifti(folder / "labelsTr/case_0.nii", a_label_map())
    with pytest.raises(DatasetError, match=r"training\.0\.label: labelsTr/case_0\.nii\.gz"):
        recognise(folder)
