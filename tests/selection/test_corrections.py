import numpy as np
import pytest

from autoseg.data.image import Geometry
from autoseg.data.labels import train_on_regions
from autoseg.data.readers import read_labels, write_labels
from autoseg.prediction.maps import LEVELS
from autoseg.selection.corrections import choose_corrections, possible_rules, possible_thresholds
from autoseg.selection.region_shares import STEPS, in_steps
from tests.brats import BRATS

SHAPE = (12, 12, 12)
GEOMETRY = Geometry(SHAPE, (4.0, 4.0, 4.0), np.diag([4.0, 4.0, 4.0, 1.0]))


def write_pairs(folder, *, specks):
    """Ten cases: a tumour found as it is, and in the prediction of case i a speck far away where `specks` says so."""
    pairs = []
    for index in range(10):
        reference = np.zeros(SHAPE, dtype=np.uint8)
        reference[2:7, 2:7, 2:7] = 2
        reference[3:5, 3:5, 3:5] = 4
        predicted = reference.copy()
        predicted[2, 2, 2] = 0
        if specks[index]:
            predicted[10, 10, 10] = 2
        files = folder / "p" / f"c{index}.nii.gz", folder / "r" / f"c{index}.nii.gz"
        for file, labels in zip(files, (predicted, reference), strict=True):
            write_labels(file, labels, GEOMETRY)
        pairs.append((f"c{index}", *files))
    return pairs


def folds():
    return {f"c{index}": str(index % 5) for index in range(10)}


def test_a_rule_that_removes_specks_everywhere_is_kept(tmp_path):
    pairs = write_pairs(tmp_path, specks=[True] * 10)
    found = choose_corrections(pairs, BRATS, fold_of=folds(), workers=1)
    assert [correction.kept for correction in found] == [True]
    (correction,) = found
    assert correction.rule.structure == "WT"
    assert correction.before < correction.after == pytest.approx(correction.cross_fitted)


def test_nothing_is_corrected_where_nothing_helps(tmp_path):
    assert choose_corrections(write_pairs(tmp_path, specks=[False] * 10), BRATS, fold_of=folds(), workers=1) == []


def test_a_rule_that_hurts_the_cases_it_was_not_chosen_on_is_not_kept(tmp_path):
    """Nine tumours in two equal parts and a tenth with a speck: only the tenth's fold is better off."""
    pairs = write_pairs(tmp_path, specks=[False] * 10)
    for index, (_, prediction, reference) in enumerate(pairs):
        labels = np.zeros(SHAPE, dtype=np.uint8)
        labels[1:4, 1:4, 1:4] = 2
        if index < 5:
            labels[8:10, 8:11, 8:11] = 2
        write_labels(reference, labels, GEOMETRY)
        predicted = labels.copy()
        if index >= 5:
            predicted[8:10, 8:11, 8:11] = 2
        write_labels(prediction, predicted, GEOMETRY)
    halves = {f"c{index}": str(index // 5) for index in range(10)}
    found = choose_corrections(pairs, BRATS, fold_of=halves, workers=1)
    assert all(correction.cross_fitted <= correction.before and not correction.kept for correction in found)


def test_each_region_is_tried_and_the_enhancing_tumour_becomes_necrosis():
    rules = possible_rules(BRATS)
    assert {rule.structure for rule in rules} == {"WT", "TC", "ET"}
    replaced = {rule.structure: rule.value for rule in rules if rule.kind == "replace_small"}
    assert replaced == {"WT": 0, "TC": 2, "ET": 1}


def test_steps_say_of_every_threshold_whether_a_probability_is_above_it():
    codes = np.arange(LEVELS + 1, dtype=np.uint16)
    steps = in_steps(codes)
    for step in range(STEPS + 1):
        least = (codes.astype(float) - 0.5) / LEVELS  # the smallest probability that is rounded to the code
        np.testing.assert_array_equal(steps > step, least > step / STEPS)


def write_shares(folder, pairs, *, sure):
    """Probabilities of each case: 0.45 in the tumour where `sure` says no, 0.99 where it does; ET and TC always found."""
    folder.mkdir()
    shares = {}
    for index, (id_, _, reference) in enumerate(pairs):
        truth, _ = read_labels(reference)
        inside = [np.isin(truth, region.values) for region in BRATS.regions]
        steps = np.stack([np.where(one, 20, 0) for one in inside]).astype(np.uint8)
        if not sure[index]:
            steps[0][inside[0]] = 9  # above 8 twentieths, not above 10
        shares[id_] = folder / f"{id_}.npz"
        np.savez_compressed(shares[id_], steps=steps)
    return shares


def test_a_threshold_that_helps_everywhere_is_kept(tmp_path):
    pairs = write_pairs(tmp_path, specks=[False] * 10)
    scheme = train_on_regions(BRATS)
    shares = write_shares(tmp_path / "shares", pairs, sure=[False] * 10)
    (found,) = choose_corrections(pairs, scheme, fold_of=folds(), shares=shares, workers=1)
    assert (found.rule.kind, found.rule.structure, found.kept) == ("threshold", BRATS.regions[0].name, True)
    assert found.rule.probability in (0.2, 0.3, 0.4)
    assert found.before < found.after == 1.0


def test_a_threshold_that_helps_one_case_alone_is_not_kept(tmp_path):
    """The other cases have a halo of doubt around the tumour, which a low threshold would paint."""
    pairs = write_pairs(tmp_path, specks=[False] * 10)
    scheme = train_on_regions(BRATS)
    shares = write_shares(tmp_path / "shares", pairs, sure=[True] * 9 + [False])
    for id_, file in list(shares.items())[:9]:
        steps = np.load(file)["steps"]
        steps[0][(steps[0] == 0)] = 9 if id_ != "c9" else 0
        np.savez_compressed(file, steps=steps)
    found = choose_corrections(pairs, scheme, fold_of=folds(), shares=shares, workers=1)
    assert not any(one.kept and one.rule.kind == "threshold" and one.rule.probability < 0.5 for one in found)


def test_labels_that_compete_have_no_threshold():
    assert possible_thresholds(BRATS) == []
    assert {rule.structure for rule in possible_thresholds(train_on_regions(BRATS))} == {"WT", "TC", "ET"}
