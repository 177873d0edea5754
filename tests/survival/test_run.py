import csv
import json

import numpy as np
import pytest

pytest.importorskip("sksurv", reason="needs the extra [survival]")

from autoseg.data.layouts import recognise
from autoseg.data.phantom import write_phantom
from autoseg.data.readers import read_labels, write_labels
from autoseg.errors import ArtefactError, SurvivalError, UnknownNameError
from autoseg.survival import run
from autoseg.survival.tables import read_features, write_features
from tests.survival.cohorts import draw_cohort

LINEAR = ["ridge"]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("phantom"), cases=4, shape=(24, 32, 32), workers=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model of clinical and imaging features, and the folder with the tables it was trained on."""
    folder = tmp_path_factory.mktemp("trained")
    cohort = draw_cohort(60)
    rows = [
        f"{id_},{age:.3f},{int(days)}"
        for id_, age, days in zip(cohort.ids, cohort.features[:, 0], cohort.days, strict=True)
    ]
    (folder / "clinical.csv").write_text("id,Age,Survival_days\n" + "\n".join(rows) + "\n")
    imaging = {id_: {"TC_volume_ml": float(ml)} for id_, ml in zip(cohort.ids, cohort.features[:, 1], strict=True)}
    write_features(imaging, folder / "features.csv")
    run.train(
        folder / "clinical.csv", features_file=folder / "features.csv", families=LINEAR, output=folder / "model", seed=0
    )
    return folder


def test_features_of_a_data_set_go_into_a_table_with_what_they_mean(phantom, tmp_path):
    table = run.features(recognise(phantom), clinical=phantom / "survival.csv", output=tmp_path, workers=1)
    rows = read_features(tmp_path / "features.csv")
    assert tuple(rows) == table.cases == tuple(f"PHANTOM_0000{index}" for index in (1, 2, 3, 4))
    assert all(row["WT_volume_ml"] > 0 and 19 <= row["age_years"] <= 87 for row in rows.values())
    defined = {column["name"] for column in json.loads((tmp_path / "features.json").read_text())["columns"]}
    assert set(next(iter(rows.values()))) - defined == {"age_years", "resection_gtr", "resection_str"}


def test_predicted_segmentations_are_measured_with_the_images_they_belong_to(phantom, tmp_path):
    dataset = recognise(phantom)
    case = dataset.cases[0]
    labels, geometry = read_labels(case.label_path(dataset.folder))
    write_labels(tmp_path / "predictions" / f"{case.id}.nii.gz", np.where(labels == 2, 0, labels), geometry)
    (row,) = run.measure(dataset, segmentations=tmp_path / "predictions", images=phantom / "imagesTr", workers=1).values()
    assert row["WT_volume_ml"] == row["TC_volume_ml"] > 0


def test_a_segmentation_without_image_or_on_another_grid_is_named(phantom, tmp_path):
    dataset = recognise(phantom)
    labels, geometry = read_labels(dataset.cases[0].label_path(dataset.folder))
    write_labels(tmp_path / "stranger" / "X.nii.gz", labels, geometry)
    with pytest.raises(SurvivalError, match="segmentation of X"):
        run.measure(dataset, segmentations=tmp_path / "stranger", workers=1)
    other = labels[:, :, 1:]
    shape = (geometry.shape[0], geometry.shape[1], geometry.shape[2] - 1)
    smaller = type(geometry)(shape, geometry.spacing_mm, geometry.affine)
    write_labels(tmp_path / "smaller" / f"{dataset.cases[0].id}.nii.gz", other, smaller)
    with pytest.raises(SurvivalError, match=f"case {dataset.cases[0].id}: shape of"):
        run.measure(dataset, segmentations=tmp_path / "smaller", workers=1)


def test_training_writes_the_model_its_scores_and_three_pictures(trained):
    folder = trained / "model"
    model = run.open_survival_model(folder)
    assert model.family == "ridge"
    assert "not for treatment" in model.notice.lower()
    assert {one.family for one in model.validation.families} == {"ridge", "age_only", "mean"}
    assert model.validation.automatic["spearman"].value > 0.75
    assert model.validation.against_age.verdict.startswith("better than age alone")
    for name in ("kaplan_meier.png", "calibration.png", "effects.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    with (folder / "out_of_fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert {row["risk_group"] for row in rows} == {"high", "middle", "low"}


def test_the_stored_interval_holds_four_of_five_patients(trained):
    model = run.open_survival_model(trained / "model")
    with (trained / "model" / "out_of_fold.csv").open() as file:
        rows = [(float(row["days"]), float(row["automatic_days"])) for row in csv.DictReader(file)]
    low, high = np.exp(model.residuals)
    inside = [low * predicted <= days <= high * predicted for days, predicted in rows]
    assert np.mean(inside) == pytest.approx(0.8, abs=0.05)


def test_a_forecast_names_days_group_and_what_drove_it(trained, tmp_path):
    rows = {"old": {"TC_volume_ml": 80.0, "age_years": 82.0}, "young": {"TC_volume_ml": 8.0, "age_years": 33.0}}
    old, young = run.predict(trained / "model", rows=rows, output=tmp_path)
    assert old.days < young.days
    assert (old.group, young.group) == ("high", "low")
    assert old.low < old.days < old.high
    assert {driver.feature for driver in old.drivers} == {"age_years", "TC_volume_ml"}
    assert all(driver.factor < 1 for driver in old.drivers)
    written = (tmp_path / "survival.csv").read_text().splitlines()
    assert written[0] == "id,days,days_low,days_high,risk_group,drivers,unknown"
    assert written[1].startswith(f"old,{old.days:.0f},")


def test_an_unknown_value_is_taken_as_the_median_and_said(trained, tmp_path):
    (found,) = run.predict(trained / "model", rows={"X": {"TC_volume_ml": None, "age_years": 60.0}}, output=tmp_path)
    assert found.unknown == ("TC_volume_ml",)


def test_a_missing_or_misnamed_column_is_named_with_the_nearest(trained, tmp_path):
    with pytest.raises(SurvivalError, match=r"'TC_volume_ml' is missing \(is it 'TC_volume_mm3'\?\).*age_years"):
        run.predict(trained / "model", rows={"X": {"TC_volume_mm3": 1.0, "age_years": 60.0}}, output=tmp_path)
    with pytest.raises(SurvivalError, match="no case to forecast"):
        run.predict(trained / "model", rows={}, output=tmp_path)


def test_a_damaged_model_is_refused_with_the_command_that_makes_it(trained, tmp_path):
    whole = (trained / "model" / "survival_model.json").read_text()
    (tmp_path / "survival_model.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match="autoseg_survival train"):
        run.open_survival_model(tmp_path)


def test_too_few_patients_and_unknown_families_are_refused(trained, tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("id,Age,Survival_days\n" + "\n".join(f"P{i},{40 + i},{100 + i}" for i in range(10)) + "\n")
    with pytest.raises(SurvivalError, match=r"10 patients .*: too few; expected at least 20"):
        run.train(few, output=tmp_path / "out")
    with pytest.raises(UnknownNameError, match="Did you mean 'ridge'"):
        run.train(trained / "clinical.csv", families=["rigde"], output=tmp_path / "out")


def test_ids_that_do_not_meet_are_named(trained, tmp_path):
    write_features({f"Q{index}": {"TC_volume_ml": 1.0} for index in range(30)}, tmp_path / "features.csv")
    with pytest.raises(SurvivalError, match=r"without features: 60 \(P0, P1, P2 ...\).*--mapping"):
        run.train(trained / "clinical.csv", features_file=tmp_path / "features.csv", output=tmp_path / "out")


@pytest.fixture(scope="module")
def sixty(tmp_path_factory):
    """Sixty phantoms and their features."""
    folder = tmp_path_factory.mktemp("sixty")
    phantom = write_phantom(folder, cases=60, seed=1)
    run.features(recognise(phantom), output=folder)
    return phantom, folder / "features.csv"


@pytest.mark.slow
def test_the_law_of_the_phantom_is_found(sixty, tmp_path):
    phantom, measured = sixty
    model = run.train(phantom / "survival.csv", features_file=measured, families=["cox", "ridge"], output=tmp_path)
    assert model.validation.automatic["spearman"].value > 0.6


@pytest.mark.slow
def test_nothing_is_found_in_shuffled_survival_of_phantoms(sixty, tmp_path):
    phantom, measured = sixty
    header, *rows = csv.reader((phantom / "survival.csv").read_text().splitlines())
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = [[id_, age, rows[order[index]][2], resection] for index, (id_, age, _, resection) in enumerate(rows)]
    table = tmp_path / "shuffled.csv"
    table.write_text("\n".join(",".join(row) for row in [header, *shuffled]) + "\n")
    model = run.train(table, features_file=measured, families=["cox", "ridge"], output=tmp_path / "model")
    null = 1.96 / np.sqrt(len(rows) - 1)
    assert abs(model.validation.automatic["spearman"].value) < null
