import os
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from autoseg.artefacts import load
from autoseg.data.labels import Label, LabelScheme, Region
from autoseg.errors import ArtefactError, PredictionError
from autoseg.prediction.report import PredictionReport
from autoseg.prediction.run import predict
from tests.prediction import small

KNOWN = "tests.prediction.small:brightness"
OBLIQUE = np.array([[-0.9, 0.2, 0.1, 30.0], [0.2, 1.1, -0.3, -12.5], [0.1, 0.3, 1.9, 7.25], [0, 0, 0, 1]])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small.write_small_model(
        tmp_path / "model", small.plan(kind=KNOWN, spacing_mm=(2.0, 1.0, 1.0), orientation="LAS")
    )


def run(inputs: Path, output: Path, model: Path, **settings: Any) -> PredictionReport:
    return predict(inputs, output, models=[model], precision="fp32", device="cpu", **settings)


def answer(voxels: np.ndarray) -> np.ndarray:
    return np.where(voxels > 2, 9, np.where(voxels > 1, 4, 0))


def test_a_prediction_lies_on_the_oblique_grid_of_its_image_bit_for_bit(tmp_path: Path) -> None:
    chosen = small.plan(kind=KNOWN, orientation="LAS", transpose=(1, 0, 2), spacing_mm=(1.1, 2.0, 0.93))
    spaced = OBLIQUE.copy()
    spaced[:3, :3] *= np.array([0.93, 1.1, 2.0]) / np.linalg.norm(OBLIQUE[:3, :3], axis=0)
    model = small.write_small_model(tmp_path / "model", chosen)
    voxels = small.scan(10, 11, 12)
    source = small.write_nifti(tmp_path / "in" / "case.nii.gz", voxels, spaced)
    report = run(tmp_path / "in", tmp_path / "out", model)
    assert report.cases[0].file == "case.nii.gz"
    before, after = nib.load(source), nib.load(tmp_path / "out" / "case.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(after.dataobj).T, answer(voxels))
    assert after.get_data_dtype().kind in "iu"
    for key in ("qform_code", "sform_code", "pixdim", "quatern_b", "qoffset_x", "srow_x", "srow_y", "srow_z", "xyzt_units"):
        np.testing.assert_array_equal(before.header[key], after.header[key])
    assert before.affine.tobytes() == after.affine.tobytes()


def test_the_ending_of_the_image_is_kept_and_so_is_its_grid(tmp_path: Path, model: Path) -> None:
    voxels = small.scan(10, 11, 12)
    stored = SimpleITK.GetImageFromArray(voxels)
    stored.SetOrigin((3.5, -7.25, 11.0))
    stored.SetSpacing((1.0, 1.0, 2.0))
    (tmp_path / "in").mkdir()
    SimpleITK.WriteImage(stored, tmp_path / "in" / "case.nrrd")
    run(tmp_path / "in", tmp_path / "out", model)
    found = SimpleITK.ReadImage(tmp_path / "out" / "case.nrrd")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(found), answer(voxels))
    assert found.GetOrigin() == stored.GetOrigin()
    assert found.GetSpacing() == stored.GetSpacing()


def test_pictures_are_predicted_as_pictures(tmp_path: Path) -> None:
    names = {"background": 0, "bright": 112, "brighter": 252}
    labels = LabelScheme(labels=tuple(Label(name=name, value=value) for name, value in names.items()))
    chosen = small.plan(kind=KNOWN, patch_size=(8, 8), spacing_mm=(1.0, 1.0), name="2d", orientation=None, labels=labels)
    model = small.write_small_model(tmp_path / "model", chosen)
    picture = np.random.default_rng(0).integers(0, 4, (12, 17), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(picture), tmp_path / "in" / "a.png")
    report = run(tmp_path / "in", tmp_path / "out", model)
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "out" / "a.png"))
    np.testing.assert_array_equal(found[picture > 2], 252)
    np.testing.assert_array_equal(found[picture <= 1], 0)
    assert report.cases[0].volumes_ml == {}


def test_the_report_names_settings_times_and_volumes_and_is_written(tmp_path: Path) -> None:
    labels = small.LABELS.model_copy(update={"regions": (Region(name="all", values=(4, 9)),)})
    model = small.write_small_model(tmp_path / "model", small.plan(kind=KNOWN, labels=labels))
    voxels = np.full((10, 10, 10), -1, dtype=np.float32)
    voxels[:5, :4, :3] = 3
    small.write_nifti(tmp_path / "in" / "a.nii", voxels, np.diag([2.0, 2.0, 2.0, 1.0]))
    report = run(tmp_path / "in", tmp_path / "out", model, step=0.7, mirroring=False)
    (case,) = report.cases
    assert set(case.seconds) == {"read", "prepare", "network", "export", "write"}
    stored = nib.load(tmp_path / "out" / "a.nii")
    count = int(np.count_nonzero(np.asanyarray(stored.dataobj)))
    assert case.volumes_ml["all"] == pytest.approx(count * 8 / 1000, abs=1e-4)
    assert case.volumes_ml["all"] == pytest.approx(case.volumes_ml["bright"] + case.volumes_ml["brighter"], abs=1e-3)
    assert (report.step, report.mirroring, report.precision, report.device) == (0.7, "none", "fp32", "cpu")
    assert (report.configurations, report.folds) == (("3d_fullres",), ("0",))
    assert load(PredictionReport, tmp_path / "out" / "prediction.json", remake="") == report


def test_a_case_that_fails_is_reported_and_does_not_stop_the_others(tmp_path: Path, model: Path) -> None:
    small.write_nifti(tmp_path / "in" / "a.nii.gz", small.scan(10, 11, 12))
    small.write_nifti(tmp_path / "in" / "c.nii.gz", np.stack([small.scan(10, 11, 12)] * 2))
    small.write_nifti(tmp_path / "in" / "d.nii.gz", small.scan(10, 11, 12))
    whole = (tmp_path / "in" / "a.nii.gz").read_bytes()
    (tmp_path / "in" / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    report = run(tmp_path / "in", tmp_path / "out", model)
    assert [case.id for case in report.cases] == ["a", "b", "c", "d"]
    assert [case.id for case in report.failed] == ["b", "c"]
    assert "b.nii.gz" in str(report.failed[0].error)
    assert "case c: 2 channels found" in str(report.failed[1].error)
    assert "expected 1 (MRI)" in str(report.failed[1].error)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.nii.gz", "d.nii.gz", "prediction.json"]


@pytest.mark.parametrize(
    ("shape", "value", "told"),
    [((4, 0, 4), 1.0, "no voxels"), ((4, 4, 4), np.nan, "64 voxels that are NaN"), ((4, 4, 4), 1e300, "up to 1e\\+300")],
)
def test_an_image_without_usable_numbers_is_reported_and_does_not_stop_the_others(
    tmp_path: Path, model: Path, shape: tuple[int, ...], value: float, told: str
) -> None:
    small.write_nifti(tmp_path / "in" / "a.nii.gz", np.full(shape, value, dtype=np.float64))
    small.write_nifti(tmp_path / "in" / "b.nii.gz", small.scan(10, 11, 12))
    report = run(tmp_path / "in", tmp_path / "out", model)
    (failure,) = report.failed
    assert failure.id == "a"
    assert re.search(f"^case a: .*{told}", str(failure.error))


def test_an_image_without_voxel_size_is_reported(tmp_path: Path, model: Path) -> None:
    source = small.write_nifti(tmp_path / "in" / "a.nii", small.scan(4, 5, 6))
    raw = bytearray(source.read_bytes())
    raw[80:92] = bytes(12)  # pixdim[1:4]
    source.write_bytes(raw)
    (failure,) = run(tmp_path / "in", tmp_path / "out", model).failed
    assert "case a: the voxel size is 0 x 0 x 0 mm" in str(failure.error)


def test_a_bug_met_in_one_case_is_reported_with_its_traceback_and_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = small.plan(kind="tests.prediction.small:refusing_the_brightest")
    model = small.write_small_model(tmp_path / "model", chosen)
    for name, brightest in (("a", 1.0), ("b", 100.0), ("c", 1.0)):
        small.write_nifti(tmp_path / "in" / f"{name}.nii.gz", np.full((8, 8, 8), brightest, dtype=np.float32))
    report = run(tmp_path / "in", tmp_path / "out", model)
    assert [case.id for case in report.failed] == ["b"]
    assert "case b: a fault of autoseg, not of your input (ZeroDivisionError: " in str(report.failed[0].error)
    assert "Traceback" in caplog.text


def test_a_case_with_too_few_channel_files_names_those_found_and_expected(tmp_path: Path) -> None:
    model = small.write_small_model(tmp_path / "model", small.plan(channels=("flair", "t1", "t2")))
    for name in ("x_flair", "x_t2"):
        small.write_nifti(tmp_path / "in" / "x" / f"{name}.nii.gz", small.scan(8, 8, 8))
    report = run(tmp_path / "in", tmp_path / "out", model)
    assert "case x: 2 channels found (x_flair.nii.gz, x_t2.nii.gz)" in str(report.failed[0].error)
    assert "expects 3: flair, t1, t2" in str(report.failed[0].error)


def test_probabilities_are_written_beside_the_labels_and_agree_with_them(tmp_path: Path, model: Path) -> None:
    small.write_nifti(tmp_path / "in" / "a.nii.gz", small.scan(10, 11, 12))
    report = run(tmp_path / "in", tmp_path / "out", model, probabilities=True)
    assert report.cases[0].probabilities == "a_probabilities.nii.gz"
    assert report.classes == ("background", "bright", "brighter")
    stored, labels = nib.load(tmp_path / "out" / "a_probabilities.nii.gz"), nib.load(tmp_path / "out" / "a.nii.gz")
    found = stored.get_fdata()
    assert (stored.get_data_dtype(), found.shape) == (np.uint16, (12, 11, 10, 3))
    assert stored.affine.tobytes() == labels.affine.tobytes()
    np.testing.assert_array_equal(np.array([0, 4, 9])[found.argmax(axis=-1)], np.asanyarray(labels.dataobj))
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=3e-5)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "out" / "a_probabilities.nii.gz"))
    np.testing.assert_allclose(read, found.T, atol=1e-6)


def test_existing_predictions_are_skipped_only_when_the_same_model_made_them(tmp_path: Path, model: Path) -> None:
    for name in ("a", "b"):
        small.write_nifti(tmp_path / "in" / f"{name}.nii.gz", small.scan(10, 11, 12))
    out = tmp_path / "out"
    run(tmp_path / "in", out, model)
    (out / "b.nii.gz").unlink()
    os.utime(out / "a.nii.gz", (0, 0))
    again = run(tmp_path / "in", out, model, skip_existing=True)
    assert [case.skipped for case in again.cases] == [True, False]
    assert (out / "a.nii.gz").stat().st_mtime == 0
    assert [case.skipped for case in run(tmp_path / "in", out, model, skip_existing=True).cases] == [True, True]
    assert not any(case.skipped for case in run(tmp_path / "in", out, model, skip_existing=True, step=0.8).cases)
    other = small.write_small_model(tmp_path / "other", small.plan(orientation="LAS"))
    assert not any(case.skipped for case in run(tmp_path / "in", out, other, skip_existing=True).cases)


def test_the_folder_of_the_images_is_no_place_for_predictions(tmp_path: Path, model: Path) -> None:
    file = small.write_nifti(tmp_path / "in" / "a.nii.gz", small.scan(10, 11, 12))
    for place in (tmp_path / "in", file):
        with pytest.raises(PredictionError, match="holds the input"):
            run(place, tmp_path / "in", model)
    with pytest.raises(PredictionError, match="the output is a folder"):
        run(tmp_path / "in", tmp_path / "out.nii.gz", model)


def test_a_model_that_cannot_be_opened_ends_the_run_before_anything_is_written(tmp_path: Path) -> None:
    small.write_nifti(tmp_path / "in" / "a.nii.gz", small.scan(10, 11, 12))
    with pytest.raises(ArtefactError, match=r"model\.json: not found"):
        run(tmp_path / "in", tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
