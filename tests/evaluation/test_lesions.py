from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from autoseg.evaluation.lesions import LESION_RULES, LesionRule, Lesions, _dilated
from autoseg.evaluation.surface import surface_distances

SMALL = LesionRule(dilation=1, minimum_voxels=2)
SPARSE = arrays(bool, (5, 9, 11), elements=st.sampled_from([False] * 7 + [True]))


def line(*voxels, length=40):
    mask = np.zeros((1, 1, length), dtype=bool)
    mask[0, 0, list(voxels)] = True
    return mask


def lesions(predicted, reference, spacing=(1.0, 1.0, 1.0)):
    whole = surface_distances(predicted, reference, spacing_mm=spacing, is_flat=False)
    return Lesions(predicted=predicted, reference=reference, spacing_mm=spacing, is_flat=False, whole=whole)


def test_lesions_whose_dilations_touch_are_one():
    # Voxels 0-2 and 5-6: grown by one they meet at 3 and 4; 20-22 stands alone and is missed; 30 is made up.
    found = lesions(line(0, 1, 2, 30), line(0, 1, 2, 5, 6, 20, 21, 22)).by_dilation(SMALL)
    assert (found.true_positive, found.false_negative, found.false_positive) == (1, 1, 1)
    # The merged lesion has 5 voxels of which 3 were found.
    assert found.dice == pytest.approx((2 * 3 / 8 + 0 + 0) / 3)
    hd95 = np.percentile([0, 0, 0, 3, 4], 95)
    assert found.hd95_mm == pytest.approx((hd95 + 374 + 374) / 3)
    assert found.f1 == pytest.approx(2 / 4)


def test_a_prediction_near_a_lesion_belongs_to_it_even_without_overlap():
    found = lesions(line(3, 4), line(0, 1, 2)).by_dilation(SMALL)
    assert (found.true_positive, found.false_negative, found.false_positive) == (1, 0, 0)
    assert found.dice == 0
    assert found.hd95_mm < 374
    far = lesions(line(4, 5), line(0, 1, 2)).by_dilation(SMALL)
    assert (far.true_positive, far.false_negative, far.false_positive) == (0, 1, 1)
    assert (far.dice, far.hd95_mm) == (0, 374)


def test_lesions_under_the_minimum_do_not_count_and_excuse_what_was_found_of_them():
    found = lesions(line(0, 10, 11), line(0, 10, 11)).by_dilation(SMALL)
    assert (found.true_positive, found.false_negative, found.false_positive, found.dice) == (1, 0, 0, 1)
    nothing = lesions(line(0), line(0)).by_dilation(SMALL)
    assert (nothing.dice, nothing.hd95_mm, nothing.f1) == (None, None, None)


def test_matching_pairs_components_one_to_one_so_that_the_sum_of_dice_is_largest():
    # The reference's two lesions 0-3 and 6-9; the prediction 2-7 touches both, and 9 only the second.
    predicted, reference = line(2, 3, 4, 5, 6, 7, 9), line(0, 1, 2, 3, 6, 7, 8, 9)
    found = lesions(predicted, reference).by_matching(LesionRule())
    # 2-7 with the first (4/10) and 9 with the second (2/5) beat 2-7 with the second (4/10) alone.
    assert (found.true_positive, found.false_positive, found.false_negative) == (2, 0, 0)
    assert found.dice == pytest.approx((4 / 10 + 2 / 5) / 2)


def test_what_stays_unpaired_has_dice_0_and_no_distance():
    found = lesions(line(0, 1, 20), line(0, 1, 30)).by_matching(LesionRule())
    assert (found.true_positive, found.false_positive, found.false_negative) == (1, 1, 1)
    assert found.dice == pytest.approx(1 / 3)
    assert found.hd95_mm == 0
    assert found.f1 == pytest.approx(1 / 2)
    apart = lesions(line(0), line(9)).by_matching(LesionRule())
    assert (apart.dice, apart.hd95_mm, apart.f1) == (0, None, 0)
    empty = lesions(line(), line()).by_matching(LesionRule())
    assert (empty.dice, empty.hd95_mm, empty.f1) == (None, None, None)


def test_a_small_metastasis_needs_more_overlap_to_count_as_found():
    predicted, reference = line(*range(18), length=60), line(17, 18, 19, length=60)
    assert 0 < 2 / 21 < LESION_RULES["met"].small_dice
    assert lesions(predicted, reference).by_matching(LESION_RULES["gli"]).true_positive == 1
    assert lesions(predicted, reference).by_matching(LESION_RULES["met"]).true_positive == 0


@given(SPARSE, st.integers(0, 3))
def test_dilation_agrees_with_scipy(mask, steps):
    if steps:
        wanted = ndimage.binary_dilation(mask, ndimage.generate_binary_structure(3, 2), iterations=steps)
        assert np.array_equal(_dilated(mask, steps=steps), wanted)
    else:
        assert np.array_equal(_dilated(mask, steps=0), mask)


def by_hand_2023(predicted, reference, rule):
    """The published steps, one lesion at a time, on an image with room around the masks."""
    predicted, reference = np.pad(predicted, 5), np.pad(reference, 5)
    around, touching = np.ones((3, 3, 3)), ndimage.generate_binary_structure(3, 2)
    grow = {"structure": touching, "iterations": rule.dilation}
    grown, count = ndimage.label(ndimage.binary_dilation(reference, **grow), around)
    parts, _ = ndimage.label(predicted, around)
    dice, hd95, used = [], [], set()
    for number in range(1, count + 1):
        lesion = reference & (grown == number)
        near = set(np.unique(parts[ndimage.binary_dilation(lesion, **grow)])) - {0}
        used |= near
        if lesion.sum() < rule.minimum_voxels:
            continue
        found = np.isin(parts, list(near))
        dice.append(2 * (found & lesion).sum() / (found.sum() + lesion.sum()))
        distances = surface_distances(found, lesion, spacing_mm=(2.0, 1.0, 1.0), is_flat=False)
        hd95.append(distances.hausdorff(95) if near else rule.penalty_mm)
    invented = len(set(np.unique(parts)) - {0} - used)
    entries = len(dice) + invented
    return (sum(dice) / entries, (sum(hd95) + rule.penalty_mm * invented) / entries) if entries else (None, None)


@settings(max_examples=60)
@given(SPARSE, SPARSE, st.integers(1, 2), st.integers(1, 4))
def test_the_rule_of_2023_agrees_with_its_steps_one_lesion_at_a_time(predicted, reference, dilation, minimum):
    rule = LesionRule(dilation=dilation, minimum_voxels=minimum)
    found = lesions(predicted, reference, (2.0, 1.0, 1.0)).by_dilation(rule)
    wanted = by_hand_2023(predicted, reference, rule)
    assert (found.dice, found.hd95_mm) == (pytest.approx(wanted[0]), pytest.approx(wanted[1]))


@settings(max_examples=40)
@given(*[arrays(bool, (2, 4, 4), elements=st.sampled_from([False] * 4 + [True]))] * 2)
def test_no_other_pairing_has_a_larger_sum_of_dice(predicted, reference):
    around = np.ones((3, 3, 3))
    parts, found = ndimage.label(predicted, around)
    truth, count = ndimage.label(reference, around)
    scores = lesions(predicted, reference).by_matching(LesionRule())
    best = 0.0
    for choice in product(range(found + 1), repeat=count):
        chosen = [part for part in choice if part]
        if len(set(chosen)) == len(chosen):
            pairs = [(truth == i + 1, parts == part) for i, part in enumerate(choice) if part]
            best = max(best, sum(2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs))
    entries = count + found - scores.true_positive
    assert scores.dice == (pytest.approx(best / entries) if entries else None)
