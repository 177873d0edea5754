from pathlib import Path

import pytest

from autoseg.data.layouts import recognise
from autoseg.data.layouts.advice import GENERAL, next_step
from autoseg.errors import DatasetError
from tests.data.scans import a_label_map, a_scan, write_nifti


def test_scans_with_label_maps_get_the_list_that_they_need(tmp_path: Path) -> None:
    for case in ("p1", "p2"):
        write_nifti(tmp_path / case / "image.nii.gz", a_scan())
        write_nifti(tmp_path / case / "label.nii.gz", a_label_map())
    with pytest.raises(DatasetError, match="none of the files") as caught:
        recognise(tmp_path)
    lines = str(caught.value).splitlines()[-3:]
    assert [line.strip() for line in lines] == [
        "id,image,label",
        "p1,p1/image.nii.gz,p1/label.nii.gz",
        "p2,p2/image.nii.gz,p2/label.nii.gz",
    ]
    (tmp_path / "cases.csv").write_text("\n".join(line.strip() for line in lines))
    assert [case.id for case in recognise(tmp_path).cases] == ["p1", "p2"]


def test_dicom_series_can_be_predicted(tmp_path: Path) -> None:
    for series in ("FLAIR", "T1"):
        (tmp_path / series).mkdir()
        (tmp_path / series / "0.dcm").write_bytes(b"")
    text = next_step(tmp_path)
    assert "DICOM series (FLAIR, T1) and no label map" in text
    assert f"autoseg_predict -i {tmp_path} -o OUT" in text


def test_images_without_anything_called_a_label_say_which_names_are_looked_for(tmp_path: Path) -> None:
    write_nifti(tmp_path / "image.nii.gz", a_scan())
    assert "no file that is called a label map (label, seg, mask" in next_step(tmp_path)


def test_anything_else_gets_the_general_advice(tmp_path: Path) -> None:
    assert next_step(tmp_path) == next_step(tmp_path / "gone") == GENERAL
