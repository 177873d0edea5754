import json
import os

import numpy as np
import pytest

from autoseg.artefacts import load, save
from autoseg.data.check import has_errors
from autoseg.data.image import reorient
from autoseg.data.layouts import recognise
from autoseg.errors import StaleError
from autoseg.fingerprint import Fingerprint, examine, verify_unchanged
from autoseg.fingerprint.run import common_orientation
from tests.fingerprint.made_up import dataset, geometry, ramp, ramp_dataset, write_case


class Counting:
    """A progress that remembers how much there was to do."""

    def __init__(self):
        self.totals = []

    def track(self, items, *, description, total):
        self.totals.append(total)
        yield from items


@pytest.fixture
def data(tmp_path):
    return ramp_dataset(tmp_path / "raw")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_the_fingerprint_of_a_ramp_is_what_one_works_out_by_hand(data, cache):
    found, problems = examine(data, cache=cache, workers=1)
    assert problems == []
    assert [case.shape_after_crop for case in found.cases] == [(2, 4, 6)] * 3
    assert found.cases[0].label_voxels == {0: 192 - 38, 1: 38}
    assert found.median_relative_size == 0.25
    assert found.orientation == "RAS"
    intensities = found.intensities[0]
    assert (intensities.lowest, intensities.highest, intensities.mean) == (11, 48, 29.5)


def test_processes_find_the_same_as_one(data, cache, tmp_path):
    alone, _ = examine(data, cache=cache, workers=1)
    together, _ = examine(data, cache=tmp_path / "other", workers=2)
    assert alone == together


def test_a_fingerprint_survives_saving(data, cache, tmp_path):
    found, _ = examine(data, cache=cache, workers=1)
    save(found, tmp_path / "fingerprint.json")
    assert load(Fingerprint, tmp_path / "fingerprint.json", remake="x") == found


def test_known_cases_are_not_read_again(data, cache):
    first, _ = examine(data, cache=cache, workers=1)
    more = write_case(data.folder, "case_new", image=ramp() * 2, labels=(ramp() > 20).astype(np.uint8))
    seen = Counting()
    larger = data.model_copy(update={"cases": (*data.cases, more)})
    second, _ = examine(larger, cache=cache, workers=1, progress=seen)
    assert seen.totals == [1]
    assert second.cases[:3] == first.cases


def test_adding_ten_cases_to_twenty_reads_ten(tmp_path, cache):
    data = ramp_dataset(tmp_path / "raw", cases=20)
    examine(data, cache=cache, workers=1)
    written = {file.name: file.stat().st_mtime_ns for file in cache.iterdir()}
    larger = ramp_dataset(tmp_path / "raw", cases=30)  # writes all files anew, with the same content
    found, _ = examine(larger, cache=cache, workers=1)
    kept = {file.name: file.stat().st_mtime_ns for file in cache.iterdir() if file.name in written}
    assert kept == written
    new = [file for file in cache.glob("*.json") if file.name not in written]
    assert len(new) == 10
    assert len(found.cases) == 30


def test_a_file_that_was_only_touched_is_not_read_again(data, cache):
    examine(data, cache=cache, workers=1)
    os.utime(data.folder / data.cases[0].images[0], ns=(1, 1))
    seen = Counting()
    examine(data, cache=cache, workers=1, progress=seen)
    assert seen.totals == []


def test_a_case_with_another_content_is_read_again(data, cache):
    examine(data, cache=cache, workers=1)
    write_case(data.folder, "case_1", image=ramp() + ramp() * 3, labels=(ramp() > 10).astype(np.uint8))
    seen = Counting()
    found, _ = examine(data, cache=cache, workers=1, progress=seen)
    assert seen.totals == [1]
    assert found.intensities[0].highest == 48 * 4


def test_a_change_of_labels_makes_all_cases_new(data, cache):
    examine(data, cache=cache, workers=1)
    seen = Counting()
    examine(data.model_copy(update={"channels": ("CT",)}), cache=cache, workers=1, progress=seen)
    assert seen.totals == [3]


def test_a_damaged_cache_is_made_anew(data, cache):
    first, _ = examine(data, cache=cache, workers=1)
    for file in cache.iterdir():
        file.write_bytes(b"rubbish")
    again, _ = examine(data, cache=cache, workers=1)
    assert again == first


def test_a_truncated_file_is_a_problem_and_the_others_are_measured(data, cache):
    file = data.folder / data.cases[0].images[0]
    file.write_bytes(file.read_bytes()[:-20])
    found, problems = examine(data, cache=cache, workers=1)
    assert [problem.case for problem in problems] == ["case_0"]
    assert has_errors(problems)
    assert len(found.cases) == 2


def test_problems_of_known_cases_are_told_again(data, cache):
    labels = np.full((4, 6, 8), 7, dtype=np.uint8)
    wrong = write_case(data.folder, "case_0", image=ramp(), labels=labels)
    assert wrong == data.cases[0]
    _, first = examine(data, cache=cache, workers=1)
    _, again = examine(data, cache=cache, workers=1)
    assert [problem.field for problem in first] == ["undeclared label"]
    assert again == first


def test_cases_in_another_orientation_are_turned_before_they_are_compared(tmp_path):
    root = tmp_path / "raw"
    labels = (ramp() > 10).astype(np.uint8)
    cases = [write_case(root, f"case_{i}", image=ramp(), labels=labels) for i in range(2)]
    # The same head lying on its side: x and z exchanged, so that the axes (x, y, z) point S, A, R.
    turned = geometry((8, 6, 4), (1.0, 2.0, 3.0))
    turned.affine[:3, :3] = np.array([[0, 0, 1], [0, 2, 0], [3, 0, 0]])
    voxels, classes = (reorient(a, current="RAS", wanted="SAR") for a in (ramp(), labels))
    cases.append(write_case(root, "case_2", image=voxels, labels=classes, grid=turned))
    found, problems = examine(dataset(root, cases), cache=tmp_path / "cache", workers=1)
    assert problems == []
    assert found.orientation == "RAS"
    assert found.cases[2].orientation == "SAR"
    assert found.cases[2].shape_after_crop == found.cases[0].shape_after_crop
    assert found.cases[2].spacing_mm == found.cases[0].spacing_mm
    assert found.cases[2].shape == (4, 6, 8)


def test_the_common_orientation_is_the_most_frequent_one():
    assert common_orientation(["LPS", "RAS", "LPS"]) == "LPS"
    assert common_orientation(["RAS", "LPS"]) == "LPS"
    assert common_orientation(["RAS", None]) is None
    assert common_orientation([]) is None


def test_untouched_files_pass_the_check_for_changes(data, cache):
    found, _ = examine(data, cache=cache, workers=1)
    verify_unchanged(data, found)


def test_changed_files_are_named_with_the_command_that_remakes(data, cache):
    found, _ = examine(data, cache=cache, workers=1)
    write_case(data.folder, "case_1", image=ramp() * 3, labels=(ramp() > 10).astype(np.uint8))
    (data.folder / data.cases[2].label).unlink()
    with pytest.raises(StaleError, match=r"2 files .*images/case_1.nii.gz, labels/case_2.nii.gz.*autoseg_plan /"):
        verify_unchanged(data, found)


def test_another_list_of_cases_makes_a_fingerprint_stale(data, cache):
    found, _ = examine(data, cache=cache, workers=1)
    with pytest.raises(StaleError, match="another list of cases"):
        verify_unchanged(data.model_copy(update={"cases": data.cases[:2]}), found)


@pytest.mark.real_data
def test_the_fingerprint_of_real_scans_is_nnunets(shared_data, tmp_path):
    theirs = json.loads((shared_data.parent / "models/nnunet_hippocampus/model/dataset_fingerprint.json").read_text())
    ours, problems = examine(recognise(shared_data / "Task04_Hippocampus"), cache=tmp_path, workers=2)
    assert not has_errors(problems)
    assert [list(case.shape_after_crop) for case in ours.cases] == theirs["shapes_after_crop"]
    assert [list(case.spacing_mm) for case in ours.cases] == theirs["spacings"]
    assert ours.median_relative_size == theirs["median_relative_size_after_cropping"]
    expected = theirs["foreground_intensity_properties_per_channel"]["0"]
    found = ours.intensities[0]
    assert [found.lowest, found.highest, found.median] == [expected["min"], expected["max"], expected["median"]]
    assert found.mean == pytest.approx(expected["mean"], rel=0.001)
    assert found.deviation == pytest.approx(expected["std"], rel=0.001)
    assert found.percentile_00_5 == pytest.approx(expected["percentile_00_5"], rel=0.001)
    assert found.percentile_99_5 == pytest.approx(expected["percentile_99_5"], rel=0.001)
