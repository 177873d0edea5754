import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.fingerprint.statistics import SUMMARY_VALUES, mix, shares, summarise, weighted_quantiles


def test_the_shares_of_a_summary_make_up_the_whole_and_are_narrow_in_the_tails():
    assert shares().sum() == pytest.approx(1)
    assert shares().max() < 8e-4
    reached = np.cumsum(shares())
    near_the_tail = shares()[(reached > 0.004) & (reached < 0.006)]
    assert near_the_tail.max() < 1.3e-4


def test_mean_deviation_and_extremes_of_one_case_are_exact():
    found = mix([summarise(np.array([[1, 2, 3, 4]], dtype=np.int16))])[0]
    assert (found.mean, found.lowest, found.highest) == (2.5, 1, 4)
    assert found.deviation == pytest.approx(np.sqrt(1.25))


def test_a_large_case_weighs_no_more_than_a_small_one():
    large, small = np.zeros((1, 100_000)), np.full((1, 10), 8.0)
    found = mix([summarise(large), summarise(small)])[0]
    assert found.mean == pytest.approx(4)
    assert found.deviation == pytest.approx(4)


def test_every_value_of_a_summary_occurs_in_the_case():
    voxels = np.random.default_rng(0).normal(size=(2, 5000)).astype(np.float32)
    summary = summarise(voxels)
    assert summary.table.shape == (2, SUMMARY_VALUES)
    for channel in range(2):
        assert np.isin(summary.table[channel], voxels[channel]).all()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
    whole=st.booleans(),
)
def test_percentiles_err_by_at_most_four_hundredths_of_a_percent_in_rank(sizes, seed, whole):
    rng = np.random.default_rng(seed)
    cases = [rng.normal(loc=rng.normal() * 50, scale=rng.uniform(1, 80), size=(1, size)) for size in sizes]
    cases = [np.round(case) if whole else case for case in cases]
    # Tables hold float32; so do the images they are made of.
    cases = [case.astype(np.float32) for case in cases]
    found = mix([summarise(case) for case in cases])[0]
    levels = ((found.percentile_00_5, 0.005), (found.median, 0.5), (found.percentile_99_5, 0.995))
    for value, level in levels:
        below = np.mean([np.mean(case < value) for case in cases])
        up_to = np.mean([np.mean(case <= value) for case in cases])
        # A case of few voxels has no value between two of them, so a rank may also miss by one voxel of one case.
        slack = 4e-4 + np.mean([1 / case.shape[1] for case in cases])
        assert below - slack <= level <= up_to + slack


def test_percentiles_of_equal_cases_agree_with_numpys():
    voxels = np.random.default_rng(1).gamma(2, 100, size=(1, 300_000)).astype(np.float32)
    found = mix([summarise(voxels)] * 5)[0]
    expected = np.percentile(voxels, [0.5, 50, 99.5])
    assert [found.percentile_00_5, found.median, found.percentile_99_5] == pytest.approx(list(expected), rel=0.01)


def test_weighted_quantiles_of_two_values_switch_where_the_first_ones_weight_ends():
    values, weights = np.array([7.0, 3.0]), np.array([0.75, 0.25])
    assert weighted_quantiles(values, weights, levels=(0.2, 0.25, 0.3, 1.0)) == [3, 3, 7, 7]
