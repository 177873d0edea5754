import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.planning.rules import axis_order, coarse_axis, mirrored_pairs, resampled_shape, target_spacing

TRIPLES = st.tuples(*[st.floats(0.3, 9)] * 3)
SHAPES = st.tuples(*[st.integers(5, 400)] * 3)


def test_the_target_spacing_is_the_median_of_each_axis():
    spacings = [(1, 0.5, 0.5), (2, 0.7, 0.5), (3, 0.9, 0.8)]
    assert target_spacing(spacings, [(100, 100, 100)] * 3) == (2, 0.7, 0.5)


def test_thick_and_few_slices_take_the_tenth_percentile():
    spacings = [(float(mm), 1, 1) for mm in range(4, 15)]  # 4, 5, ... 14: the 10th percentile is 5
    assert target_spacing(spacings, [(10, 200, 200)] * 11) == (5, 1, 1)


def test_many_thick_slices_keep_their_median():
    spacings = [(float(mm), 1, 1) for mm in range(4, 15)]
    assert target_spacing(spacings, [(100, 200, 200)] * 11) == (9, 1, 1)


def test_a_coarse_axis_stays_just_above_the_others():
    spacings = [(1.0, 2, 2)] * 3 + [(8.0, 2, 2)] * 8
    assert target_spacing(spacings, [(10, 200, 200)] * 11) == (2 + 1e-5, 2, 2)


def test_the_coarse_axis_needs_both_thick_and_few_slices():
    assert coarse_axis([(3.0, 1, 1)], [(10, 200, 200)]) is None  # exactly three times is not more
    assert coarse_axis([(3.1, 1, 1)], [(10, 200, 200)]) == 0
    assert coarse_axis([(1, 1, 3.1)], [(200, 200, 10)]) == 2


def test_the_axis_with_the_largest_spacing_comes_first():
    assert axis_order((1, 1, 3)) == (2, 0, 1)
    assert axis_order((1, 3, 1)) == (1, 0, 2)
    assert axis_order((2, 2, 2)) == (0, 1, 2)


def test_half_voxels_round_to_even():
    assert resampled_shape((5, 7, 9), current_mm=(1, 1, 1), new_mm=(2, 2, 2)) == (2, 4, 4)


@given(st.lists(st.tuples(TRIPLES, SHAPES), min_size=1, max_size=12))
def test_the_target_lies_within_the_spacings_seen(cases):
    spacings, shapes = zip(*cases, strict=True)
    for axis, mm in enumerate(target_spacing(spacings, shapes)):
        seen = [row[axis] for row in spacings]
        largest_other = max(max(row) for row in spacings)
        assert min(seen) <= mm <= max(*seen, largest_other + 1e-5)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["left kidney", "right kidney", "liver"], [("left kidney", "right kidney")]),
        (["Kidney_R", "Kidney_L"], [("Kidney_R", "Kidney_L")]),
        (["hippocampusLeft", "hippocampusRight"], [("hippocampusLeft", "hippocampusRight")]),
        (["left atrium"], []),
        (["left kidney", "right lung"], []),
        (["tumour", "edema", "necrosis"], []),
    ],
)
def test_pairs_are_labels_that_differ_in_the_side_only(names, pairs):
    assert mirrored_pairs(names) == pairs
