from pathlib import Path

import numpy as np
import pytest

from autoseg.data.check import check_headers
from autoseg.data.layouts import recognise
from autoseg.errors import DatasetError
from tests.data.scans import write_json, write_picture

MASK = np.array([[0, 255], [255, 0]], dtype=np.uint8)
GREY = np.array([[1, 2], [3, 4]], dtype=np.uint8)


def test_mask_values_are_read_from_the_masks(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/a.png", GREY)
    write_picture(tmp_path / "images/b.png", GREY)
    write_picture(tmp_path / "labels/a.png", MASK)
    write_picture(tmp_path / "labels/b.png", MASK // 255 * 7)
    found = recognise(tmp_path)
    assert (found.layout, found.template, found.channels) == ("pictures", "generic_2d", ("grey",))
    assert found.mirror_axes == (1, 2)
    names = [(label.name, label.value) for label in found.labels.labels]
    assert names == [("background", 0), ("label_7", 7), ("label_255", 255)]


@pytest.mark.parametrize(
    ("folder", "name"), [("masks", "a_mask.tif"), ("Annotations", "a.bmp"), ("segmentations", "a_seg.png")]
)
def test_masks_may_have_another_ending_suffix_and_folder_name(tmp_path: Path, folder: str, name: str) -> None:
    write_picture(tmp_path / "images/a.png", np.stack([GREY] * 3, axis=-1))
    write_picture(tmp_path / folder / name, MASK)
    found = recognise(tmp_path)
    assert found.channels == ("red", "green", "blue")
    assert found.cases[0].label == f"{folder}/{name}"


def test_labels_declared_in_dataset_json_are_taken_instead(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/a.png", GREY)
    write_picture(tmp_path / "labels/a.png", MASK)
    write_json(tmp_path / "dataset.json", {"labels": {"background": 0, "membrane": 255}, "channel_names": {"0": "em"}})
    found = recognise(tmp_path)
    assert found.layout == "pictures"
    assert found.channels == ("em",)
    assert [label.name for label in found.labels.labels] == ["background", "membrane"]


def test_pictures_without_a_mask_are_test_cases_and_masks_without_a_picture_are_reported(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        write_picture(tmp_path / f"images/{stem}.png", GREY)
    for stem in ("a", "c"):
        write_picture(tmp_path / f"masks/{stem}.png", MASK)
    found = recognise(tmp_path)
    assert [case.id for case in found.test_cases] == ["b"]
    (problem,) = check_headers(found)
    assert (problem.case, problem.field, problem.file) == ("c", "channel missing", "images/c.png")


def test_pictures_with_smallest_value_other_than_zero_have_it_as_background(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/a.png", GREY)
    write_picture(tmp_path / "masks/a.png", MASK // 255 + 1)
    assert [label.value for label in recognise(tmp_path).labels.labels] == [1, 2]


def test_masks_that_are_images_or_hold_one_value_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/a.png", GREY)
    many = np.arange(400, dtype=np.uint16).reshape(20, 20)
    write_picture(tmp_path / "masks/a.png", many)
    with pytest.raises(DatasetError, match="400 different values from 0 to 399; these look like images"):
        recognise(tmp_path)
    write_picture(tmp_path / "masks/a.png", MASK * 0)
    with pytest.raises(DatasetError, match="hold only the value 0"):
        recognise(tmp_path)
