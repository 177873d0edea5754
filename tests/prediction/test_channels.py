from pathlib import Path

import pytest

from autoseg.errors import PredictionError, UnknownNameError
from autoseg.prediction.channels import cases_by_channel
from tests.prediction import small

CHANNELS = ("FLAIR", "T1")


def image(path: Path) -> Path:
    return small.write_nifti(path, small.scan(4, 4, 4))


def series(path: Path) -> Path:
    """A folder that looks like a DICOM series."""
    path.mkdir(parents=True)
    (path / "0.dcm").write_bytes(bytes(128) + b"DICM")
    return path


def named(cases: list) -> dict[str, list[str]]:
    return {case.id: ["/".join(Path(file).parts[-2:]) for file in case.images] for case in cases}


def test_two_series_of_one_patient_are_a_case_called_after_their_folder(tmp_path: Path) -> None:
    places = {name: str(series(tmp_path / "p1" / name)) for name in ("t1", "flair")}
    assert named(cases_by_channel(places, None, channels=CHANNELS)) == {"p1": ["p1/flair", "p1/t1"]}


def test_a_folder_for_each_channel_holds_one_series_or_image_for_each_patient(tmp_path: Path) -> None:
    for patient in ("p2", "p1"):
        series(tmp_path / "A" / patient)
        image(tmp_path / "B" / f"{patient}.nii.gz")
    found = cases_by_channel({"T1": str(tmp_path / "B"), "FLAIR": str(tmp_path / "A")}, None, channels=CHANNELS)
    assert named(found) == {"p1": ["A/p1", "B/p1.nii.gz"], "p2": ["A/p2", "B/p2.nii.gz"]}


def test_with_an_input_the_names_are_looked_for_in_each_patients_folder(tmp_path: Path) -> None:
    for patient in ("p2", "p1"):
        series(tmp_path / patient / "101_AX_FLAIR")
        series(tmp_path / patient / "102_T1")
    found = cases_by_channel({"T1": "102_T1", "FLAIR": "*FLAIR"}, tmp_path, channels=CHANNELS)
    assert named(found) == {p: [f"{p}/101_AX_FLAIR", f"{p}/102_T1"] for p in ("p1", "p2")}
    alone = cases_by_channel({"T1": "102_T1", "FLAIR": "*FLAIR"}, tmp_path / "p1", channels=CHANNELS)
    assert list(named(alone)) == ["p1"]


def test_a_patient_without_a_channel_is_left_to_be_reported_as_a_failing_case(tmp_path: Path) -> None:
    for name in ("A/p1", "A/p2", "B/p2"):
        series(tmp_path / name)
    found = cases_by_channel({"T1": str(tmp_path / "B"), "FLAIR": str(tmp_path / "A")}, None, channels=CHANNELS)
    assert [len(case.images) for case in found] == [1, 2]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    series(tmp_path / "A" / "p1")
    series(tmp_path / "C")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnknownNameError, match="Did you mean 'FLAIR'"):
        cases_by_channel({"FLAR": "A"}, None, channels=CHANNELS)
    with pytest.raises(PredictionError, match="Add --channel T1=DIR"):
        cases_by_channel({"FLAIR": str(tmp_path / "A")}, None, channels=CHANNELS)
    with pytest.raises(PredictionError, match="not found"):
        cases_by_channel({"FLAIR": "nowhere", "T1": "A"}, None, channels=CHANNELS)
    with pytest.raises(PredictionError, match="holds no DICOM series"):
        cases_by_channel({"FLAIR": str(tmp_path / "empty"), "T1": str(tmp_path / "A")}, None, channels=CHANNELS)
    with pytest.raises(PredictionError, match="several patients and others only one"):
        cases_by_channel({"FLAIR": str(tmp_path / "A"), "T1": str(tmp_path / "C")}, None, channels=CHANNELS)
    with pytest.raises(PredictionError, match="fits 3 of"):
        cases_by_channel({"FLAIR": "*", "T1": "A"}, tmp_path, channels=CHANNELS)
