import numpy as np
import pytest
from scipy import stats

pytest.importorskip("sksurv", reason="needs the extra [survival]")

from autoseg.survival.models import (
    CoxModel,
    KaplanMeierModel,
    fit_cox,
    fit_forest,
    fit_kaplan_meier,
    fit_ridge,
    fit_survival_forest,
    survival_curves,
)
from autoseg.survival.preparation import fit_preparation
from tests.survival.cohorts import draw_cohort


def prepared(cohort):
    return fit_preparation(cohort, most=None).apply(cohort.features, cohort.columns)


def test_the_plain_cox_model_tells_the_curves_of_the_library():
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    cohort = draw_cohort(censored=0.3)
    features = prepared(cohort)
    ours = fit_cox(features, cohort.days, cohort.died, seed=0, penalty=2.0)
    known = Surv.from_arrays(cohort.died, cohort.days)
    theirs = CoxPHSurvivalAnalysis(alpha=2.0, ties="efron").fit(features, known)
    times = np.linspace(cohort.days.min(), cohort.days.max() - 1, 30)
    expected = np.array([curve(times) for curve in theirs.predict_survival_function(features)])
    np.testing.assert_allclose(survival_curves(ours, features, times), expected, atol=1e-12)


def test_the_plain_survival_forest_tells_the_curves_of_the_library():
    from sksurv.ensemble import RandomSurvivalForest
    from sksurv.util import Surv

    cohort = draw_cohort(censored=0.3)
    features = prepared(cohort)
    ours = fit_survival_forest(features, cohort.days, cohort.died, seed=3, leaf=5, trees=10)
    theirs = RandomSurvivalForest(n_estimators=10, min_samples_leaf=5, max_features="sqrt", random_state=3)
    theirs.fit(features, Surv.from_arrays(cohort.died, cohort.days))
    times = np.array(ours.times)
    expected = np.array([curve(times) for curve in theirs.predict_survival_function(features)])
    np.testing.assert_allclose(survival_curves(ours, features, times), expected, atol=1e-12)


def test_the_plain_forest_tells_the_days_of_the_library():
    from sklearn.ensemble import RandomForestRegressor

    cohort = draw_cohort()
    features = prepared(cohort)
    ours = fit_forest(features, cohort.days, cohort.died, seed=1, trees=20)
    theirs = RandomForestRegressor(n_estimators=20, min_samples_leaf=5, max_features=1 / 3, random_state=1)
    theirs.fit(features, np.log(cohort.days))
    median = np.exp(theirs.predict(features))
    curves = survival_curves(ours, features, median)
    np.testing.assert_allclose(np.diagonal(curves), 0.5, atol=1e-6)


def test_ridge_finds_the_law_and_its_curve_falls_to_one_half_at_the_median():
    cohort = draw_cohort(400, noise=0.1)
    features = prepared(cohort)
    model = fit_ridge(features, cohort.days, cohort.died, seed=0, penalty=0.01)
    deviations = np.array([cohort.features[:, 0].std(), np.log1p(cohort.features[:, 1]).std()])
    # log(1 + volume) is not quite log(volume), so the second exponent is a little off.
    np.testing.assert_allclose(np.array(model.coefficients[:2]) / deviations, [-0.03, -0.4], rtol=0.08)
    assert model.deviation == pytest.approx(0.1, rel=0.15)


def test_kaplan_meier_of_five_patients_is_that_worked_by_hand():
    days = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    died = np.array([True, False, True, True, False])
    model = fit_kaplan_meier(np.empty((5, 0)), days, died, seed=0)
    curve = survival_curves(model, np.empty((2, 0)), np.array([0.0, 1.0, 2.5, 3.0, 4.5]))
    np.testing.assert_allclose(curve, [[1, 4 / 5, 4 / 5, 4 / 5 * 2 / 3, 4 / 5 * 2 / 3 / 2]] * 2)


def test_steps_hold_from_their_day_on():
    model = CoxModel(coefficients=(np.log(2.0),), times=(10.0, 20.0), cumulative_hazard=(0.5, 1.0))
    curves = survival_curves(model, np.array([[0.0], [1.0]]), np.array([9.0, 10.0, 25.0]))
    np.testing.assert_allclose(curves, np.exp(-np.array([[0, 0.5, 1.0], [0, 1.0, 2.0]])))


def test_a_model_survives_being_stored():
    cohort = draw_cohort(40)
    features = prepared(cohort)
    model = fit_survival_forest(features, cohort.days, cohort.died, seed=0, trees=3)
    again = type(model).model_validate_json(model.model_dump_json())
    times = np.array([100.0, 400.0])
    np.testing.assert_array_equal(survival_curves(model, features, times), survival_curves(again, features, times))
    assert KaplanMeierModel(times=(1.0,), survival=(0.5,)).kind == "kaplan_meier"


def test_preparation_fills_scales_and_drops_what_does_not_vary():
    cohort = draw_cohort(50)
    cohort.features[:, 2] = 7.0
    cohort.features[:30, 3] = np.nan
    preparation = fit_preparation(cohort, most=None)
    assert preparation.columns == ("age_years", "TC_volume_ml", "c")
    values = preparation.apply(cohort.features, cohort.columns)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(values.std(axis=0), 1)
    unknown = np.full((1, len(cohort.columns)), np.nan)
    filled = (np.median(cohort.features[:, 0]) - cohort.features[:, 0].mean()) / cohort.features[:, 0].std()
    assert preparation.apply(unknown, cohort.columns)[0, 0] == pytest.approx(filled)


def test_the_two_columns_of_the_law_are_chosen_and_a_copy_of_one_is_not():
    cohort = draw_cohort(200)
    cohort.features[:, 2] = cohort.features[:, 0] * 2 + 1
    assert fit_preparation(cohort, most=2).columns[-1] == "TC_volume_ml"
    assert stats.spearmanr(cohort.features[:, 2], cohort.days).statistic < -0.5
