from pathlib import Path

from autoseg.data.layouts import recognise
from autoseg.data.set_aside import set_aside
from tests.data.layouts.test_brats import OLD
from tests.data.layouts.test_brats import _patient as patient
from tests.data.scans import a_label_map, write_decathlon, write_patient


def test_a_patient_without_segmentation_beside_others_is_named(tmp_path: Path) -> None:
    patient(tmp_path / "Brats18_a", OLD, label="_seg")
    patient(tmp_path / "Brats18_b", OLD, label=None)
    (problem,) = set_aside(recognise(tmp_path))
    assert (problem.severity, problem.case, problem.field) == ("warning", "Brats18_b", "label missing")
    assert "1 patient without a segmentation, beside 1 with one" in problem.message
    assert "kept to predict" in problem.message


def test_patients_to_predict_alone_are_no_problem(tmp_path: Path) -> None:
    patient(tmp_path / "Brats18_b", OLD, label=None)
    assert set_aside(recognise(tmp_path)) == []


def test_a_folder_that_is_empty_or_holds_a_segmentation_only_is_named(tmp_path: Path) -> None:
    patient(tmp_path / "Brats18_a", OLD, label="_seg")
    (tmp_path / "Brats18_b").mkdir()
    write_patient(tmp_path / "Brats18_c", {"_seg": a_label_map()})
    empty, alone = set_aside(recognise(tmp_path))
    assert (empty.case, empty.found) == ("Brats18_b", "no image")
    assert (alone.case, alone.found) == ("Brats18_c", "only Brats18_c_seg.nii.gz")
    assert alone.severity == "warning"


def test_other_layouts_say_themselves_what_they_train_on(tmp_path: Path) -> None:
    assert set_aside(recognise(write_decathlon(tmp_path))) == []
