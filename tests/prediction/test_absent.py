import json
import re
from pathlib import Path

import numpy as np
import pytest

from autoseg.data.phantom import write_phantom
from autoseg.data.readers import read_image, write_image
from autoseg.planning.run import plan
from autoseg.prediction.run import predict
from autoseg.workspace import open_workspace
from tests.prediction import small
from tests.prediction.test_run import KNOWN, answer, run
from tests.training.asking import train

CHANNELS = ("flair", "t1", "t2")


def model(folder: Path, *, drop_channel: float = 0.2) -> Path:
    chosen = small.plan(kind=KNOWN, channels=CHANNELS)
    training = chosen.training.model_copy(update={"drop_channel": drop_channel})
    return small.write_small_model(folder, chosen.model_copy(update={"training": training}))


@pytest.mark.parametrize(("lacking", "index"), [(("t2",), 2), (("t1", "t2"), 1)])
def test_a_case_without_some_sequences_is_predicted_from_the_others(
    tmp_path: Path, lacking: tuple[str, ...], index: int
) -> None:
    voxels = small.scan(10, 11, 12)
    for number, name in enumerate(CHANNELS):
        if name not in lacking:
            small.write_nifti(tmp_path / "numbered" / f"x_{number:04d}.nii.gz", voxels + number)
            small.write_nifti(tmp_path / "named" / "x" / f"x_{name}.nii.gz", voxels + number)
    for layout in ("numbered", "named"):
        report = run(tmp_path / layout, tmp_path / f"out_{layout}", model(tmp_path / "model"))
        (case,) = report.cases
        assert (case.error, case.absent) == (None, lacking)
        found = read_image(tmp_path / f"out_{layout}" / str(case.file)).voxels[0]
        np.testing.assert_array_equal(found, answer(voxels))
    stored = json.loads((tmp_path / "out_named" / "prediction.json").read_text())
    assert stored["cases"][0]["absent"] == list(lacking)


def test_another_model_refuses_such_a_case_and_says_which_would_not(tmp_path: Path) -> None:
    small.write_nifti(tmp_path / "in" / "x_0000.nii.gz", small.scan(8, 8, 8))
    small.write_nifti(tmp_path / "in" / "x_0002.nii.gz", small.scan(8, 8, 8))
    report = run(tmp_path / "in", tmp_path / "out", model(tmp_path / "model", drop_channel=0.0))
    message = str(report.failed[0].error)
    assert re.match(
        r"case x: 2 channels found \(x_0000.nii.gz, x_0002.nii.gz\); the model expects 3: flair, t1, t2", message
    )
    assert "training.drop_channel=0.2 can do without t1" in message


def test_a_model_of_one_channel_does_not_take_a_file_numbered_as_another_for_it(tmp_path: Path) -> None:
    chosen = small.write_small_model(tmp_path / "model", small.plan(kind=KNOWN))
    small.write_nifti(tmp_path / "in" / "x_0000.nii.gz", small.scan(8, 8, 8))
    small.write_nifti(tmp_path / "in" / "y_0001.nii.gz", small.scan(8, 8, 8))
    (failure,) = run(tmp_path / "in", tmp_path / "out", chosen).failed
    assert str(failure.error).startswith("case y: 1 channel found (y_0001.nii.gz); the model expects 1: MRI.")


def test_one_file_with_all_channels_lacks_none(tmp_path: Path) -> None:
    voxels = np.stack([small.scan(8, 8, 8, seed=seed) for seed in range(3)])
    small.write_nifti(tmp_path / "in" / "x_0000.nii.gz", voxels)
    report = run(tmp_path / "in", tmp_path / "out", model(tmp_path / "model"))
    assert (report.cases[0].error, report.cases[0].absent) == (None, ())


def test_a_complete_case_lacks_none(tmp_path: Path) -> None:
    for number in range(3):
        small.write_nifti(tmp_path / "in" / f"x_{number:04d}.nii.gz", small.scan(8, 8, 8))
    assert run(tmp_path / "in", tmp_path / "out", model(tmp_path / "model")).cases[0].absent == ()


@pytest.mark.slow
def test_a_model_trained_with_channels_dropped_predicts_a_patient_without_a_sequence(tmp_path: Path) -> None:
    raw = write_phantom(tmp_path, cases=6, shape=(24, 24, 24), workers=1)
    workspace = open_workspace(tmp_path / "workspace")
    found = plan(raw, workspace=workspace, workers=1)
    settings = [
        *(f"training.{name}={value}" for name, value in (("epochs", 1), ("iterations_per_epoch", 4))),
        *("training.validation_iterations=1", "training.drop_channel=0.4"),
    ]
    folder = workspace.dataset(found.dataset)
    (result,) = train(folder, "3d_fullres", folds=("0",), settings=settings, workers=1, device="cpu")
    for patient in sorted((raw / "imagesTs").iterdir())[:1]:
        image = read_image(patient)
        for number, name in enumerate(("flair", "t1", "t1ce", "t2")):
            if name != "t1ce":
                for file in (f"nnunet/P1_{number:04d}.nii.gz", f"brats/P1/P1_{name}.nii.gz"):
                    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
                    write_image(tmp_path / file, image.voxels[number : number + 1], image.geometry)
    predicted = []
    for layout in ("nnunet", "brats"):
        report = predict(tmp_path / layout, tmp_path / f"out_{layout}", models=[result.model], device="cpu")
        (case,) = report.cases
        assert case.error is None
        assert case.absent == (found.channels[2],)
        predicted.append(read_image(tmp_path / f"out_{layout}" / "P1.nii.gz").voxels)
    np.testing.assert_array_equal(*predicted)


@pytest.mark.real_data
def test_one_dicom_series_for_several_channels_is_refused_with_the_way_to_name_the_others(
    tmp_path: Path, shared_data: Path
) -> None:
    report = run(shared_data / "dicom" / "FLAIR", tmp_path / "out", model(tmp_path / "model"))
    message = str(report.failed[0].error)
    assert message.startswith("case FLAIR: a single DICOM series; the model expects 3 channels: flair, t1, t2.")
    assert message.endswith("--channel flair=FLAIR.")
