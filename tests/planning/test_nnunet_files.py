import json
from typing import Any

import pytest

from autoseg.errors import AutosegError, PlanError
from autoseg.planning.nnunet_files import facts_of_nnunet

INTENSITIES = {
    "mean": 1.0,
    "median": 1.0,
    "std": 2.0,
    "min": 0.0,
    "max": 9.0,
    "percentile_00_5": 0.0,
    "percentile_99_5": 8.0,
}
FINGERPRINT: dict[str, Any] = {
    "spacings": [[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]],
    "shapes_after_crop": [[30, 40, 50], [30, 40, 60]],
    "median_relative_size_after_cropping": 0.5,
    "foreground_intensity_properties_per_channel": {"0": INTENSITIES},
}
DATASET: dict[str, Any] = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "organ": 1},
    "numTraining": 2,
    "file_ending": ".nrrd",
}


def facts(folder, *, fingerprint=FINGERPRINT, dataset=DATASET, **options):
    (folder / "fingerprint.json").write_text(json.dumps(fingerprint))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return facts_of_nnunet(folder / "fingerprint.json", folder / "dataset.json", **options)


def test_numbers_and_names_are_taken_over(tmp_path):
    found = facts(tmp_path, name="Liver")
    assert found.dataset == "Liver"
    assert found.channels == ("CT",)
    assert found.shapes == ((30, 40, 50), (30, 40, 60))
    assert found.spacings_mm[1] == (2, 1, 1)
    assert found.intensities[0].deviation == 2
    assert (found.training_cases, found.file_ending, found.orientation) == (2, ".nrrd", None)


def test_a_region_counts_once_and_so_do_background_and_ignore(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    found = facts(tmp_path, dataset={**DATASET, "labels": labels, "regions_class_order": [1, 2]})
    assert found.label_entries == 4
    assert [region.writes for region in found.labels.regions] == [1, 2]


def test_the_keys_of_version_1_are_read(tmp_path):
    dataset = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "organ"}, "numTraining": 2}
    found = facts(tmp_path, dataset=dataset)
    assert found.channels == ("MRI",)
    assert found.label_entries == 2


@pytest.mark.parametrize("key", FINGERPRINT)
def test_a_missing_key_of_the_fingerprint_is_named(tmp_path, key):
    with pytest.raises(PlanError, match=rf"fingerprint.json: {key}: missing"):
        facts(tmp_path, fingerprint={name: value for name, value in FINGERPRINT.items() if name != key})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("spacings", [[1.0, 1.0], [1.0, 1.0, 1.0]], "spacings: expected three numbers"),
        ("spacings", [[1.0, "1", 1.0], [1.0, 1.0, 1.0]], "spacings: expected three numbers"),
        ("spacings", 3, "spacings: expected a list"),
        ("spacings", [[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]], "spacing of case 1 is 1 x 0 x 1"),
        ("spacings", [[1.0, 1.0, 1.0], [1.0, float("nan"), 1.0]], "spacing of case 2 is 1 x nan x 1"),
        ("spacings", [[1.0, 1.0, 1.0]], "1 spacing but 2 shapes"),
        ("shapes_after_crop", [[30, -40, 50], [30, 40, 50]], "shape after cropping of case 1"),
        ("shapes_after_crop", [[30, 4.5, 50], [30, 40, 50]], "whole numbers of voxels"),
        ("median_relative_size_after_cropping", -0.5, "relative size after cropping is -0.5"),
        ("median_relative_size_after_cropping", "half", "expected a number, found 'half'"),
        (
            "foreground_intensity_properties_per_channel",
            {},
            r"an entry for each channel of dataset.json \(0 = CT\), found none",
        ),
        ("foreground_intensity_properties_per_channel", {"0": {}}, "mean: missing"),
        ("foreground_intensity_properties_per_channel", {"0": {**INTENSITIES, "std": -1.0}}, "std: expected 0 or more"),
        ("foreground_intensity_properties_per_channel", {"0": {**INTENSITIES, "mean": float("nan")}}, "found nan"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(tmp_path, key, value, message):
    with pytest.raises(PlanError, match=message):
        facts(tmp_path, fingerprint={**FINGERPRINT, key: value})


def test_a_channel_that_the_data_set_does_not_name_is_an_error(tmp_path):
    with pytest.raises(PlanError, match=r"\(0 = CT, 1 = PET\), found 0\."):
        facts(tmp_path, dataset={**DATASET, "channel_names": {"0": "CT", "1": "PET"}})


@pytest.mark.parametrize("key", ["channel_names", "labels"])
def test_a_missing_key_of_the_data_set_is_named(tmp_path, key):
    with pytest.raises(AutosegError, match=key):
        facts(tmp_path, dataset={name: value for name, value in DATASET.items() if name != key})


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AutosegError, match=r"nowhere\.json: cannot be read"):
        facts_of_nnunet(tmp_path / "nowhere.json", tmp_path / "dataset.json")


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "fingerprint.json").write_text("{")
    with pytest.raises(AutosegError, match=r"fingerprint\.json: not JSON"):
        facts_of_nnunet(tmp_path / "fingerprint.json", tmp_path / "dataset.json")
