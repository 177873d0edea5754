from pathlib import Path

import pytest

from autoseg.data.check import check_headers
from autoseg.data.layouts import recognise
from autoseg.errors import DatasetError
from tests.data.scans import a_label_map, a_scan, write_nifti, write_patient

OLD = ("_flair", "_t1", "_t1ce", "_t2")
NEW = ("-t2f", "-t1n", "-t1c", "-t2w")


def _patient(folder: Path, suffixes: tuple[str, ...], *, label: str | None, ending: str = ".nii.gz") -> Path:
    files = {suffix: a_scan(index) for index, suffix in enumerate(suffixes)}
    return write_patient(folder, files | ({label: a_label_map()} if label else {}), ending=ending)


@pytest.mark.parametrize(
    ("patient", "suffixes", "ending", "template"),
    [
        ("Brats17_TCIA_1_1", OLD, ".nii.gz", "brats2017-2020"),
        ("BraTS20_Training_001", OLD, ".nii", "brats2017-2020"),
        ("BraTS2021_00000", OLD, ".nii.gz", "brats2021"),
        ("BraTS-GLI-00000-000", NEW, ".nii.gz", "brats2023_gli"),
        ("somebody", OLD, ".nii.gz", "brats2017-2020"),
        ("somebody", NEW, ".nii.gz", "brats2023_gli"),
    ],
)
def test_every_year_is_recognised_by_its_names(
    tmp_path: Path, patient: str, suffixes: tuple[str, ...], ending: str, template: str
) -> None:
    label = "-seg" if suffixes == NEW else "_seg"
    _patient(tmp_path / patient, suffixes, label=label, ending=ending)
    found = recognise(tmp_path)
    assert (found.layout, found.template) == ("brats", template)
    assert found.channels == ("flair", "t1", "t1ce", "t2")
    assert [known.value for known in found.labels.labels] == ([0, 1, 2, 3] if suffixes == NEW else [0, 1, 2, 4])
    (case,) = found.cases
    assert case.id == patient
    assert case.images == tuple(f"{patient}/{patient}{suffix}{ending}" for suffix in suffixes)
    assert case.label == f"{patient}/{patient}{label}{ending}"


def test_a_folder_with_scans_of_several_patients_is_no_patient(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        write_patient(tmp_path / patient, {"_t1": a_scan(), "_t2": a_scan()})
    (tmp_path / "scans").mkdir()
    for file in [*tmp_path.glob("p?/*")]:
        file.rename(tmp_path / "scans" / file.name)
        if not any(file.parent.iterdir()):
            file.parent.rmdir()
    with pytest.raises(DatasetError, match="brats: no patients' folders"):
        recognise(tmp_path)


def test_the_regions_are_the_target_and_write_the_original_values(tmp_path: Path) -> None:
    _patient(tmp_path / "p", OLD, label="_seg")
    scheme = recognise(tmp_path).labels
    assert scheme.target == "regions"
    assert {region.name: (region.values, region.writes) for region in scheme.regions} == {
        "WT": ((1, 2, 4), 2),
        "TC": ((1, 4), 1),
        "ET": ((4,), 4),
    }


def test_patients_may_lie_in_groups_and_those_without_labels_are_test_cases(tmp_path: Path) -> None:
    _patient(tmp_path / "HGG/b", OLD, label="_seg")
    _patient(tmp_path / "LGG/a", OLD, label="_seg")
    _patient(tmp_path / "LGG/c", OLD, label=None)
    found = recognise(tmp_path)
    assert [case.id for case in found.cases] == ["a", "b"]
    assert [case.id for case in found.test_cases] == ["c"]
    assert found.cases[0].images[0] == "LGG/a/a_flair.nii.gz"


def test_a_sequence_that_a_patient_lacks_is_reported_by_the_check(tmp_path: Path) -> None:
    _patient(tmp_path / "a", OLD, label="_seg")
    _patient(tmp_path / "b", OLD[:3], label="_seg")
    (problem,) = check_headers(recognise(tmp_path))
    assert (problem.case, problem.field, problem.file) == ("b", "channel missing", "b/b_t2.nii.gz")


def test_the_label_map_that_the_2020_release_misnames_is_found(tmp_path: Path) -> None:
    _patient(tmp_path / "BraTS20_Training_355", OLD, label=None)
    write_nifti(tmp_path / "BraTS20_Training_355/W39_1998.09.19_Segm.nii", a_label_map())
    assert recognise(tmp_path).cases[0].label == "BraTS20_Training_355/W39_1998.09.19_Segm.nii"


def test_a_folder_with_patients_here_and_other_things_there_is_refused(tmp_path: Path) -> None:
    _patient(tmp_path / "HGG/b", OLD, label="_seg")
    (tmp_path / "papers").mkdir()
    with pytest.raises(DatasetError, match="but the folder papers holds none"):
        recognise(tmp_path)


def test_a_patient_with_a_single_sequence_is_a_case_that_lacks_the_others(tmp_path: Path) -> None:
    for group, patient, names in (
        ("HGG", "Brats18_A_1_1", ("flair", "t1", "t1ce", "t2", "seg")),
        ("HGG", "Brats18_B_1_1", ("flair", "seg")),
    ):
        for name in names:
            write_nifti(tmp_path / group / patient / f"{patient}_{name}.nii.gz", a_label_map((0, 1)))
    complete, incomplete = recognise(tmp_path).cases
    assert (complete.id, incomplete.id) == ("Brats18_A_1_1", "Brats18_B_1_1")
    assert incomplete.images[1] == "HGG/Brats18_B_1_1/Brats18_B_1_1_t1.nii.gz"
