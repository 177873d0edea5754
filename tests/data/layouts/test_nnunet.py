from pathlib import Path

import numpy as np
import pytest

from autoseg.data.layouts import recognise
from autoseg.errors import DatasetError, LabelError
from tests.data.scans import a_label_map, a_scan, write_decathlon, write_nifti, write_nnunet

REGIONS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}


def test_files_are_gathered_by_case_and_channel(tmp_path: Path) -> None:
    found = recognise(write_nnunet(tmp_path / "Dataset007_Test"))
    assert (found.layout, found.channels) == ("nnunet", ("MR0", "MR1"))
    assert [case.id for case in found.cases] == ["case_000", "case_001"]
    assert found.cases[1].images == ("imagesTr/case_001_0000.nii.gz", "imagesTr/case_001_0001.nii.gz")
    assert found.cases[1].label == "labelsTr/case_001.nii.gz"


def test_the_litter_of_macos_is_ignored(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path, cases=1)
    (folder / "imagesTr/._case_000_0000.nii.gz").touch()
    (folder / "imagesTr/.DS_Store").touch()
    assert len(recognise(folder).cases) == 1


def test_a_missing_channel_or_label_keeps_the_name_it_should_have(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path, cases=1, channels=3)
    (folder / "imagesTr/case_000_0001.nii.gz").unlink()
    (folder / "labelsTr/case_000.nii.gz").unlink()
    (case,) = recognise(folder).cases
    assert case.images[1] == "imagesTr/case_000_0001.nii.gz"
    assert case.label == "labelsTr/case_000.nii.gz"


def test_test_images_and_their_labels_are_found(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path, channels=1)
    write_nifti(folder / "imagesTs/t_0000.nii.gz", a_scan())
    write_nifti(folder / "imagesTs/u_0000.nii.gz", a_scan())
    write_nifti(folder / "labelsTs/u.nii.gz", a_label_map())
    assert [(case.id, case.label) for case in recognise(folder).test_cases] == [("t", None), ("u", "labelsTs/u.nii.gz")]


def test_version_one_names_modality_and_images_without_their_channel(tmp_path: Path) -> None:
    for index in range(2):
        write_nifti(tmp_path / f"imagesTr/a_{index:04d}.nii.gz", a_scan(index))
    write_nifti(tmp_path / "labelsTr/a.nii.gz", a_label_map())
    training = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    found = recognise(write_decathlon(tmp_path, cases=0, modality={"0": "T1", "1": "T2"}, training=training))
    assert found.layout == "nnunet"
    assert found.channels == ("T1", "T2")
    assert found.cases[0].images == ("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz")


def test_regions_keep_the_value_that_nnunet_writes_and_name_the_labels(tmp_path: Path) -> None:
    scheme = recognise(write_nnunet(tmp_path, labels=REGIONS, regions_class_order=[1, 2, 3])).labels
    assert scheme.target == "regions"
    assert [(region.name, region.values, region.writes) for region in scheme.regions] == [
        ("whole tumor", (1, 2, 3), 1),
        ("tumor core", (2, 3), 2),
        ("enhancing tumor", (3,), 3),
    ]
    assert [label.name for label in scheme.labels] == ["background", "whole tumor", "tumor core", "enhancing tumor"]
    classes = np.arange(4)
    np.testing.assert_array_equal(scheme.paint(scheme.region_masks(classes)), classes)


def test_regions_without_an_order_have_it_derived(tmp_path: Path) -> None:
    scheme = recognise(write_nnunet(tmp_path, labels=REGIONS)).labels
    assert [region.writes for region in scheme.regions] == [1, 2, 3]


def test_an_order_that_loses_a_label_is_refused_with_the_label(tmp_path: Path) -> None:
    write_nnunet(tmp_path, labels=REGIONS, regions_class_order=[1, 3, 2])
    with pytest.raises(
        LabelError, match=r"dataset\.json: labels: label 2 cannot be recovered from the regions whole tumor"
    ):
        recognise(tmp_path)


@pytest.mark.parametrize("order", [[1, 2], "123", [1, 2, "x"]])
def test_an_order_that_does_not_fit_the_regions_is_refused(tmp_path: Path, order: object) -> None:
    write_nnunet(tmp_path, labels=REGIONS, regions_class_order=order)
    with pytest.raises(DatasetError, match="regions_class_order: expected 3 values, one per region"):
        recognise(tmp_path)


def test_an_ignored_label_is_no_class(tmp_path: Path) -> None:
    plain = recognise(write_nnunet(tmp_path / "a", labels={"background": 0, "organ": 1, "ignore": 2})).labels
    regions = recognise(write_nnunet(tmp_path / "b", labels=REGIONS | {"ignore": 4}, regions_class_order=[1, 2, 3])).labels
    assert (plain.ignore, len(plain.labels)) == (2, 2)
    assert (regions.ignore, len(regions.labels)) == (4, 4)


def test_explicit_lists_of_files_are_followed(tmp_path: Path) -> None:
    write_nifti(tmp_path / "elsewhere/x.nii.gz", a_scan())
    write_nifti(tmp_path / "elsewhere/y.nii.gz", a_label_map())
    listed = {"p": {"images": ["../elsewhere/x.nii.gz"], "label": "../elsewhere/y.nii.gz"}}
    (case,) = recognise(write_nnunet(tmp_path / "Dataset001_X", cases=0, channels=1, dataset=listed)).cases
    assert (case.id, len(case.images)) == ("p", 1)
    assert case.image_paths(tmp_path / "Dataset001_X")[0].exists()

    broken = {"p": {"images": ["../gone.nii.gz"], "label": "../elsewhere/y.nii.gz"}}
    write_nnunet(tmp_path / "Dataset002_X", cases=0, channels=1, dataset=broken)
    with pytest.raises(DatasetError, match=r"it names what is not there \(1 file\):\n  dataset\.p: .*gone\.nii\.gz"):
        recognise(tmp_path / "Dataset002_X")


def test_a_colour_picture_may_hold_all_channels_in_one_file(tmp_path: Path) -> None:
    write_nnunet(tmp_path, channels=1, channel_names={"0": "R", "1": "G", "2": "B"})
    assert recognise(tmp_path).cases[0].images == ("imagesTr/case_000_0000.nii.gz",)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "a", labels=None)
    write_nnunet(tmp_path / "b", channel_names=None)
    with pytest.raises(DatasetError, match="the key 'labels' is missing"):
        recognise(tmp_path / "a")
    with pytest.raises(DatasetError, match="the key 'channel_names' is missing"):
        recognise(tmp_path / "b")


def test_without_training_images_the_layouts_say_what_they_missed(tmp_path: Path) -> None:
    write_nnunet(tmp_path, cases=0)
    with pytest.raises(DatasetError, match="nnunet: imagesTr holds no CASE_0000 file"):
        recognise(tmp_path)
