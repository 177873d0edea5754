import numpy as np
import pytest
from scipy import stats

from autoseg.evaluation.scores import Scores
from autoseg.evaluation.summary import summarise, summary


def scores(**metrics):
    return Scores(true_positive=0, false_positive=0, false_negative=0, true_negative=0, metrics=metrics)


def test_the_interval_agrees_with_scipys_percentile_bootstrap():
    values = np.random.default_rng(1).beta(8, 2, size=60)
    found = summary(values.tolist())
    wanted = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    assert found.low == pytest.approx(wanted.low, abs=0.006)
    assert found.high == pytest.approx(wanted.high, abs=0.006)
    assert found.low < found.mean < found.high


def test_the_interval_is_the_same_each_time_and_absent_for_a_single_case():
    assert summary([0.5, None, 0.9, 0.7]) == summary([0.5, None, 0.9, 0.7])
    assert (summary([0.5, None]).low, summary([0.5, None]).high) == (None, None)
    assert (summary([0.5, 0.5]).low, summary([0.5, 0.5]).high) == (0.5, 0.5)


def test_the_mean_over_structures_draws_the_same_cases_for_all_of_them():
    # What one structure gains the other loses, so their mean is the same whatever cases are drawn.
    cases = [{"a": scores(dice=x), "b": scores(dice=1 - x)} for x in (0.1, 0.4, 0.8, 0.9)]
    structures, together = summarise(cases)
    assert structures["a"]["dice"].low < structures["a"]["dice"].high
    assert (together["dice"].mean, together["dice"].low, together["dice"].high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_structure_without_a_value_is_left_out_and_counted():
    cases = [{"a": scores(dice=0.5), "b": scores(dice=None)}] * 2
    structures, together = summarise(cases)
    assert (structures["b"]["dice"].mean, structures["b"]["dice"].low, structures["b"]["dice"].undefined) == (None, None, 2)
    assert (together["dice"].mean, together["dice"].counted, together["dice"].undefined) == (0.5, 1, 1)
    assert summarise([]) == ({}, {})
