"""Weights trained with nnU-Net, and the label maps that nnU-Net itself predicted from them."""

import shutil
from functools import partial

import numpy as np
import pytest

from autoseg.data.readers import read_labels
from autoseg.interchange.nnunet_import import import_nnunet
from autoseg.prediction.run import predict
from autoseg.workspace import open_workspace
from tests.prediction.test_arithmetic import needs_int8

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def theirs(shared_data):
    folder = shared_data.parent / "models" / "nnunet_hippocampus"
    if not folder.is_dir():
        pytest.skip(f"no model of nnU-Net at {folder}")
    return folder


@pytest.fixture(scope="module")
def imported(theirs, tmp_path_factory):
    return import_nnunet(theirs / "model", open_workspace(tmp_path_factory.mktemp("workspace")), name="hippocampus")[
        -1
    ].path


def dice_with_nnunet(imported, theirs, shared_data, place, *, count, mirroring, precision="fp32"):
    """The Dice of each class (row) and case (column) between this package's predictions and nnU-Net's."""
    images = sorted((shared_data / "Task04_Hippocampus" / "imagesTs").glob("*.nii.gz"))[:: max(1, 30 // count)][:count]
    (place / "images").mkdir()
    for image in images:
        shutil.copy(image, place / "images")
    report = predict(place / "images", place / "out", models=[imported], mirroring=mirroring, precision=precision)
    assert not report.failed
    assert len(report.cases) == count
    references = theirs / ("predictions_mirrored" if mirroring else "predictions_plain")
    scores = []
    for case in report.cases:
        own, expected = (read_labels(folder / case.file)[0] for folder in (place / "out", references))
        pairs = [(own == value, expected == value) for value in (1, 2)]
        scores.append([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs])
    return np.array(scores).T


@pytest.fixture
def measured(imported, theirs, shared_data, tmp_path):
    return partial(dice_with_nnunet, imported, theirs, shared_data, tmp_path)


@pytest.mark.parametrize(
    ("mirroring", "count"),
    [
        (False, 6),
        (True, 1),
        pytest.param(False, 30, marks=pytest.mark.slow),
        pytest.param(True, 30, marks=pytest.mark.slow),
    ],
)
def test_imported_weights_predict_what_nnunet_predicted(measured, mirroring, count):
    scores = measured(count=count, mirroring=mirroring)
    assert scores.mean(axis=1).min() >= 0.999
    assert scores.min() >= 0.99


def test_bfloat16_moves_single_voxels_only(measured):
    scores = measured(count=3, mirroring=False, precision="bf16")
    assert scores.mean(axis=1).min() >= 0.99


@needs_int8
def test_whole_numbers_of_eight_bits_move_few_voxels(measured):
    scores = measured(count=3, mirroring=False, precision="int8")
    assert scores.mean(axis=1).min() >= 0.985
    assert scores.min() < 0.9999  # it is another arithmetic
