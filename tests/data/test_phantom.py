import csv
import json

import numpy as np
import pytest

from autoseg.data.layouts import recognise
from autoseg.data.phantom import NAME, draw_survival, is_held_out, write_phantom
from autoseg.data.phantom_anatomy import draw_head
from autoseg.data.readers import read_header, read_image, read_labels
from autoseg.errors import DatasetError

SHAPE = (24, 32, 28)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("raw"), cases=9, shape=SHAPE, seed=1, workers=1)


def test_files_and_description_are_those_of_a_decathlon_task(folder):
    described = json.loads((folder / "dataset.json").read_text())
    assert described["modality"] == {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    assert described["labels"] == {"0": "background", "1": "necrotic", "2": "edema", "4": "enhancing"}
    assert (described["numTraining"], described["numTest"]) == (7, 2)
    assert described["test"] == ["./imagesTs/PHANTOM_00004.nii.gz", "./imagesTs/PHANTOM_00008.nii.gz"]
    for pair in described["training"]:
        image, (labels, label_grid) = read_image(folder / pair["image"]), read_labels(folder / pair["label"])
        assert image.voxels.shape == (4, *SHAPE)
        assert image.voxels.dtype == np.int16
        assert label_grid.shape == SHAPE
        assert set(np.unique(labels)) <= {0, 1, 2, 4}
    assert sorted(file.name for file in (folder / "labelsTs").iterdir()) == ["PHANTOM_00004.nii.gz", "PHANTOM_00008.nii.gz"]


def test_the_image_fills_the_field_of_view(folder):
    geometry = read_header(folder / "imagesTr" / "PHANTOM_00001.nii.gz").geometry
    assert geometry.spacing_mm == pytest.approx((155 / 24, 240 / 32, 240 / 28))
    assert geometry.orientation == "LPS"


def test_a_case_does_not_depend_on_how_many_there_are_nor_on_the_workers(folder, tmp_path):
    other = write_phantom(tmp_path, cases=2, shape=SHAPE, seed=1, workers=2)
    for name in ("imagesTr/PHANTOM_00002.nii.gz", "labelsTr/PHANTOM_00002.nii.gz"):
        assert (other / name).read_bytes() == (folder / name).read_bytes()
    with (folder / "survival.csv").open() as many, (other / "survival.csv").open() as few:
        assert many.read().startswith(few.read())


def test_another_seed_gives_other_patients(folder, tmp_path):
    other = write_phantom(tmp_path, cases=2, shape=SHAPE, seed=2, workers=1)
    name = "labelsTr/PHANTOM_00001.nii.gz"
    assert (other / name).read_bytes() != (folder / name).read_bytes()


def test_the_same_phantom_is_not_written_again(folder):
    before = (folder / "imagesTr" / "PHANTOM_00001.nii.gz").stat().st_mtime_ns
    assert write_phantom(folder.parent, cases=9, shape=SHAPE, seed=1, workers=1) == folder
    assert (folder / "imagesTr" / "PHANTOM_00001.nii.gz").stat().st_mtime_ns == before


def test_a_folder_with_other_data_is_left_alone(tmp_path):
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "dataset.json").write_text('{"name": "mine"}')
    with pytest.raises(DatasetError, match="holds another data set"):
        write_phantom(tmp_path, cases=4, shape=SHAPE, workers=1)
    assert json.loads((tmp_path / NAME / "dataset.json").read_text()) == {"name": "mine"}


@pytest.mark.parametrize(("cases", "shape"), [(1, SHAPE), (4, (24, 24, 10))])
def test_too_small_a_phantom_is_refused(tmp_path, cases, shape):
    with pytest.raises(DatasetError, match="at least"):
        write_phantom(tmp_path, cases=cases, shape=shape)
    assert not any(tmp_path.iterdir())


def test_the_survival_table_has_the_columns_of_brats_and_a_row_per_case(folder):
    with (folder / "survival.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "Age", "Survival_days", "Extent_of_Resection"]
    assert [row["id"] for row in rows] == [f"PHANTOM_{number:05d}" for number in range(1, 10)]
    assert {row["Extent_of_Resection"] for row in rows} <= {"GTR", "STR", "NA"}


def test_the_old_live_shorter_and_resection_helps():
    head = draw_head((24, 24, 24), np.random.default_rng(0))
    patients = [draw_survival(head, np.random.default_rng(seed), name=str(seed)) for seed in range(400)]
    logs = np.log([patient.Survival_days for patient in patients])
    ages = np.array([patient.Age for patient in patients])
    resected = np.array([patient.Extent_of_Resection == "GTR" for patient in patients])
    design = np.column_stack([np.ones(len(logs)), ages - 60, resected])
    _, per_year, gain = np.linalg.lstsq(design, logs, rcond=None)[0]
    assert per_year == pytest.approx(-0.025, abs=0.004)
    assert gain == pytest.approx(np.log(1.35), abs=0.08)


def test_every_fourth_case_is_held_out():
    assert [index for index in range(9) if is_held_out(index)] == [3, 7]


def test_the_phantom_is_recognised_with_regions_and_with_labels_of_its_test_cases(folder):
    dataset = recognise(folder)
    assert (dataset.template, dataset.layout, dataset.channels) == ("phantom", "msd", ("FLAIR", "T1w", "t1gd", "T2w"))
    assert dataset.labels.target == "regions"
    assert [(region.name, set(region.values)) for region in dataset.labels.regions] == [
        ("WT", {1, 2, 4}),
        ("TC", {1, 4}),
        ("ET", {4}),
    ]
    assert [case.id for case in dataset.test_cases] == ["PHANTOM_00004", "PHANTOM_00008"]
    assert all(case.label_path(dataset.folder).exists() for case in dataset.test_cases)
