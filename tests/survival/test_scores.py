import numpy as np
import pytest

pytest.importorskip("sksurv", reason="needs the extra [survival]")

from autoseg.survival.scores import (
    Outcome,
    accuracy,
    calibration,
    concordance,
    integrated_brier,
    log_rank,
    spearman,
    survival_class,
    with_intervals,
)


def test_classes_change_at_10_and_15_months():
    assert survival_class(np.array([299.0, 300.0, 450.0, 451.0])).tolist() == [0, 1, 1, 2]
    assert accuracy(np.array([100.0, 400.0, 500.0]), np.array([200.0, 310.0, 300.0])) == pytest.approx(2 / 3)


def test_concordance_of_four_patients_is_that_counted_by_hand():
    days, died = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, True])
    # Pairs: 1-2, 1-3, 1-4, 3-4; expected ranks the last pair wrongly and ties the first.
    assert concordance(np.array([5.0, 5.0, 9.0, 8.0]), days=days, died=died) == pytest.approx((0.5 + 1 + 1 + 0) / 4)


def test_scores_that_are_not_defined_are_none():
    days, alive = np.array([1.0, 2.0, 3.0]), np.zeros(3, dtype=bool)
    assert concordance(days, days=days, died=alive) is None
    assert spearman(np.ones(3), days) is None
    assert integrated_brier(np.ones((3, 4)), Outcome(days, alive), times=np.array([1, 2])) is None
    assert log_rank(np.zeros(3), Outcome(days, ~alive)) is None


def test_a_curve_that_knows_the_day_has_no_brier_error_and_a_coin_a_quarter():
    days = np.array([10.0, 20.0, 30.0, 40.0])
    grid = np.arange(41)
    known = (grid[None, :] < days[:, None]).astype(float)
    outcome, times = Outcome(days, np.ones(4, dtype=bool)), np.arange(11, 40)
    assert integrated_brier(known, outcome, times=times) == pytest.approx(0, abs=1e-12)
    assert integrated_brier(np.full((4, 41), 0.5), outcome, times=times) == pytest.approx(0.25)


def test_calibrated_curves_lie_on_the_diagonal():
    rng = np.random.default_rng(0)
    rates = rng.uniform(1 / 900, 1 / 200, 4000)
    days = rng.exponential(1 / rates)
    curves = np.exp(-rates[:, None] * np.arange(400)[None, :])
    points = calibration(curves, Outcome(days, np.ones(4000, dtype=bool)))
    assert [point.patients for point in points] == [1000] * 4
    assert all(abs(point.predicted - point.observed) < 0.05 for point in points)


def test_nothing_is_observed_where_nobody_was_followed_for_a_year():
    outcome = Outcome(np.array([10.0, 20, 30, 40, 50]), np.array([True, False, False, False, False]))
    points = calibration(np.full((5, 400), 0.5), outcome)
    assert [point.observed for point in points][1:] == [None, None, None]


def test_the_interval_of_a_mean_is_about_two_standard_errors():
    values = np.random.default_rng(1).normal(size=400)
    found = with_intervals(lambda rows: {"mean": float(values[rows].mean())}, 400, seed=0)["mean"]
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.2)


def test_groups_that_differ_have_a_small_p():
    days = np.concatenate([np.arange(1.0, 31), np.arange(101.0, 131)])
    groups = np.repeat([0, 1], 30)
    outcome = Outcome(days, np.ones(60, dtype=bool))
    assert log_rank(groups, outcome) < 1e-6
    assert log_rank(np.tile([0, 1], 30), outcome) > 0.05
