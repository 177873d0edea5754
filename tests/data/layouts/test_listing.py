from pathlib import Path

import pytest

from autoseg.data.layouts import recognise
from autoseg.errors import DatasetError
from tests.data.scans import a_label_map, a_scan, write_json, write_nifti


def _files(folder: Path) -> None:
    for name in ("p1_t1", "p1_t2", "p2_t1", "p2_t2"):
        write_nifti(folder / f"scans/{name}.nii.gz", a_scan())
    write_nifti(folder / "masks/p1.nii.gz", a_label_map((0, 5)))


TABLE = """id,t1,t2,label
p1, scans/p1_t1.nii.gz, scans/p1_t2.nii.gz, masks/p1.nii.gz
p2, scans/p2_t1.nii.gz, scans/p2_t2.nii.gz,
"""


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_names_channels_in_its_columns_and_labels_are_read_from_the_maps(tmp_path: Path, delimiter: str) -> None:
    _files(tmp_path)
    (tmp_path / "study.csv").write_text(TABLE.replace(", ", ",").replace(",", delimiter))
    found = recognise(tmp_path / "study.csv")
    assert (found.layout, found.name, found.folder) == ("listing", "study", tmp_path)
    assert found.channels == ("t1", "t2")
    assert found.cases[0].images == ("scans/p1_t1.nii.gz", "scans/p1_t2.nii.gz")
    assert [case.id for case in found.test_cases] == ["p2"]
    assert [label.value for label in found.labels.labels] == [0, 5]


@pytest.mark.parametrize("heading", ['"id","t1","t2","label"', "id , t1 ,t2, label "])
def test_a_heading_may_be_quoted_or_padded(tmp_path: Path, heading: str) -> None:
    _files(tmp_path)
    rows = TABLE.partition("\n")[2]
    (tmp_path / "study.csv").write_text(f"{heading}\n{rows}")
    found = recognise(tmp_path / "study.csv")
    assert found.channels == ("t1", "t2")
    assert found.cases[0].label == "masks/p1.nii.gz"


def test_a_list_in_the_folder_is_found_by_its_name(tmp_path: Path) -> None:
    _files(tmp_path)
    (tmp_path / "cases.csv").write_text(TABLE)
    assert recognise(tmp_path).layout == "listing"


def test_files_elsewhere_stay_absolute(tmp_path: Path) -> None:
    _files(tmp_path / "disk")
    (tmp_path / "study").mkdir()
    image, label = tmp_path / "disk/scans/p1_t1.nii.gz", tmp_path / "disk/masks/p1.nii.gz"
    (tmp_path / "study/list.csv").write_text(f"id,t1,label\np1,{image},{label}\n")
    (case,) = recognise(tmp_path / "study/list.csv").cases
    assert case.images == (image.as_posix(),)
    assert case.image_paths(tmp_path / "study") == [image]


@pytest.mark.parametrize("as_object", [True, False])
def test_a_json_list_may_declare_labels_and_regions(tmp_path: Path, as_object: bool) -> None:
    _files(tmp_path)
    images = (
        {"t2": "scans/p1_t2.nii.gz", "t1": "scans/p1_t1.nii.gz"}
        if as_object
        else [
            "scans/p1_t1.nii.gz",
            "scans/p1_t2.nii.gz",
        ]
    )
    content = {
        "channels": ["t1", "t2"],
        "labels": {"background": 0, "tumour": [5, 6], "core": [6], "ignore": 9},
        "cases": [{"id": "p1", "images": images, "label": "masks/p1.nii.gz"}],
    }
    found = recognise(write_json(tmp_path / "list.json", content))
    assert found.cases[0].images == ("scans/p1_t1.nii.gz", "scans/p1_t2.nii.gz")
    assert found.labels.target == "regions"
    assert found.labels.ignore == 9


def test_a_bare_json_list_takes_channels_from_its_entries_or_its_first_image(tmp_path: Path) -> None:
    _files(tmp_path)
    write_nifti(tmp_path / "four.nii.gz", a_scan(channels=4))
    label = "masks/p1.nii.gz"
    named = [{"id": "p1", "images": {"t1": "scans/p1_t1.nii.gz"}, "label": label}]
    single = [{"id": "p1", "image": "scans/p1_t1.nii.gz", "label": label}]
    four = [{"id": "p1", "image": "four.nii.gz", "label": label}]
    assert recognise(write_json(tmp_path / "a.json", named)).channels == ("t1",)
    assert recognise(write_json(tmp_path / "b.json", single)).channels == ("image",)
    assert recognise(write_json(tmp_path / "c.json", four)).channels == tuple(f"channel_{index}" for index in range(4))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,t1,label\np1,gone.nii.gz,\n", r"it names what is not there \(1 file\):\n  p1: gone\.nii\.gz"),
        ("id,t1,label\np1,,\n", r"line 2: t1: expected text, found ''"),
        ("id,t1,label\n", "the list holds no case"),
        ("id,t1,label\na/b,x.nii.gz,\n", "id 'a/b' cannot be a file name"),
        ("id,t1\np1,scans/p1_t1.nii.gz\n", "no case has a label map, and no labels are declared"),
        ("id,t1,t1\np1,scans/p1_t1.nii.gz,scans/p1_t2.nii.gz\n", "list.csv: the column 't1' stands there twice"),
        ("id,t1\np1,scans/p1_t1.nii.gz,scans/p1_t2.nii.gz\n", "line 2: expected 2 columns, found 3"),
        ("name,t1\np1,scans/p1_t1.nii.gz\n", "list.csv needs the columns id, one per channel, and label; found name, t1"),
    ],
)
def test_a_faulty_table_is_answered_with_the_place_and_what_was_found(tmp_path: Path, table: str, message: str) -> None:
    _files(tmp_path)
    (tmp_path / "list.csv").write_text(table)
    with pytest.raises(DatasetError, match=message):
        recognise(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([3], "cases.0: expected an object"),
        ([{"id": "a"}], "cases.0.images: expected text, found None"),
        ([{"image": "x.nii.gz"}], "cases.0.id: expected text, found None"),
        ({"cases": [], "channels": "t1"}, "channels: expected a list of names, found 't1'"),
        ({"rows": []}, "neither a list nor an object with the list 'cases'"),
    ],
)
def test_a_faulty_json_list_is_answered_with_the_key(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        recognise(write_json(tmp_path / "list.json", content))


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DatasetError, match=r"listing: notes\.txt is neither a folder nor a \.csv or \.json list"):
        recognise(tmp_path / "notes.txt")
