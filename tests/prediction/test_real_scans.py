"""Scans of every format through an untrained model: what counts is the grid and the values of the prediction."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from autoseg.data.layouts import recognise
from autoseg.data.readers import read_header
from autoseg.prediction.inputs import find_cases
from autoseg.prediction.run import predict
from tests.prediction import small

pytestmark = pytest.mark.real_data


@pytest.fixture
def model(tmp_path: Path) -> Path:
    coarse = small.plan(scheme="zscore", patch_size=(16, 48, 48), spacing_mm=(6.0, 3.0, 3.0))
    return small.write_small_model(tmp_path / "model", coarse)


def test_a_dicom_series_is_predicted_on_the_grid_simpleitk_reads(tmp_path: Path, shared_data: Path, model: Path) -> None:
    report = predict(shared_data / "dicom", tmp_path / "out", models=[model], mirroring=False)
    assert [case.error for case in report.cases] == [None] * len(report.cases)
    for case in report.cases:
        names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(shared_data / "dicom" / case.id))
        expected = SimpleITK.ReadImage(names)
        found = SimpleITK.ReadImage(tmp_path / "out" / str(case.file))
        assert found.GetSize() == expected.GetSize()
        for corner in (0, 0, 0), tuple(edge - 1 for edge in expected.GetSize()):
            placed, wanted = (one.TransformIndexToPhysicalPoint(corner) for one in (found, expected))
            np.testing.assert_allclose(placed, wanted, atol=1e-3)


@pytest.mark.parametrize("name", ["brain_nrrd/image.nrrd", "spleen_ct/image.nii.gz", "cord_t2star/image.nii.gz"])
def test_a_single_scan_is_predicted_in_its_own_format_and_grid(
    tmp_path: Path, shared_data: Path, model: Path, name: str
) -> None:
    report = predict(shared_data / "small" / name, tmp_path / "out", models=[model], mirroring=False)
    before, after = (
        SimpleITK.ReadImage(file) for file in (shared_data / "small" / name, tmp_path / "out" / Path(name).name)
    )
    assert report.cases[0].error is None
    assert after.GetSize() == before.GetSize()
    np.testing.assert_allclose(after.GetOrigin(), before.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(after.GetDirection(), before.GetDirection(), atol=1e-6)
    assert set(np.unique(SimpleITK.GetArrayViewFromImage(after))) <= {0, 4, 9}


def test_a_brats_patient_keeps_its_affine_bit_for_bit(tmp_path: Path, shared_data: Path) -> None:
    patient = sorted((shared_data / "BraTS2018").iterdir())[0]
    chosen = small.plan(
        channels=("flair", "t1", "t1ce", "t2"), scheme="zscore", patch_size=(32, 64, 64), spacing_mm=(3.0, 3.0, 3.0)
    )
    model = small.write_small_model(tmp_path / "model", chosen)
    report = predict(patient, tmp_path / "out", models=[model], mirroring=False)
    assert [case.id for case in report.cases] == [patient.name]
    flair = next(patient.glob("*_flair.nii*"))
    before, after = nib.load(flair), nib.load(tmp_path / "out" / str(report.cases[0].file))
    assert after.affine.tobytes() == before.affine.tobytes()
    assert after.shape == before.shape


def test_a_data_sets_folder_stands_for_its_test_cases(shared_data: Path) -> None:
    folder = shared_data / "Task04_Hippocampus"
    cases = find_cases(folder, channels=("MRI",))
    assert [case.id for case in cases] == [case.id for case in recognise(folder).test_cases]
    assert all(Path(case.images[0]).is_file() for case in cases)


def test_two_dicom_series_are_the_channels_of_one_patient(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "dicom"
    chosen = small.plan(channels=("flair", "t1ce"), scheme="zscore", patch_size=(16, 48, 48), spacing_mm=(6.0, 3.0, 3.0))
    model = small.write_small_model(tmp_path / "model", chosen)
    report = predict(
        folder, tmp_path / "out", models=[model], quality="fast", channels={"t1ce": "T1post", "flair": "FLAIR"}
    )
    (case,) = report.cases
    assert (case.id, case.error is None) == (
        "dicom",
        read_header(folder / "FLAIR").geometry.shape == read_header(folder / "T1post").geometry.shape,
    )


@pytest.mark.parametrize("layout", ["LPS", "SAR", "PIR"])
def test_a_real_scan_stored_another_way_round_is_predicted_alike(tmp_path: Path, shared_data: Path, layout: str) -> None:
    source = sorted((shared_data / "Task04_Hippocampus" / "imagesTs").glob("[!.]*.nii.gz"))[0]
    model = small.write_small_model(tmp_path / "model", small.plan(scheme="zscore", transpose=(1, 0, 2)))
    stored = nib.load(source)
    turned = stored.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(stored.affine), nib.orientations.axcodes2ornt(tuple(layout)))
    )
    (tmp_path / "in").mkdir()
    nib.save(stored, tmp_path / "in" / "a.nii.gz")
    nib.save(turned, tmp_path / "in" / "b.nii.gz")
    predict(tmp_path / "in", tmp_path / "out", models=[model], precision="fp32", mirroring=False)
    first, second = (nib.load(tmp_path / "out" / name) for name in ("a.nii.gz", "b.nii.gz"))
    assert nib.aff2axcodes(second.affine) == tuple(layout)
    back = second.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(second.affine), nib.io_orientation(first.affine))
    )
    np.testing.assert_array_equal(np.asanyarray(back.dataobj), np.asanyarray(first.dataobj))
    assert len(np.unique(np.asanyarray(first.dataobj))) > 1
