import numpy as np
import pytest

pytest.importorskip("sksurv", reason="needs the extra [survival]")

from autoseg.survival.scores import spearman
from autoseg.survival.validation import AUTOMATIC, Answers, cross_validate, grouped_folds, train_family, usable_families
from tests.survival.cohorts import draw_cohort

FAST = ["cox", "ridge", "age_only", "mean"]


def test_rows_of_one_person_stay_together_and_each_row_is_held_out_once():
    groups = [f"P{index // 3}" for index in range(60)]
    seen = []
    for inside, outside in grouped_folds(groups, folds=5, seed=0):
        assert not {groups[row] for row in inside} & {groups[row] for row in outside}
        seen += outside.tolist()
    assert sorted(seen) == list(range(60))


def test_a_law_is_found_and_beats_age_alone():
    cohort = draw_cohort(120)
    found = cross_validate(cohort, FAST, seed=0)
    assert spearman(found["ridge"].days, cohort.days) > 0.8
    assert spearman(found[AUTOMATIC].days, cohort.days) > spearman(found["age_only"].days, cohort.days)


def test_shuffled_survival_is_not_predicted():
    cohort = draw_cohort(120, shuffled=True)
    found = cross_validate(cohort, FAST, seed=0)
    null = 1.96 / np.sqrt(len(cohort) - 1)
    assert abs(spearman(found[AUTOMATIC].days, cohort.days)) < null


def test_nothing_of_the_held_out_patients_is_learned():
    cohort = draw_cohort(60)
    before = cross_validate(cohort, ["ridge"], seed=0)["ridge"].days
    inside, outside = next(grouped_folds(cohort.groups, folds=5, seed=0))
    cohort.days[outside] = cohort.days[outside][::-1] * 3
    after = cross_validate(cohort, ["ridge"], seed=0)["ridge"].days
    # The horizon of the curves grows with the longest survival, the answers do not change.
    np.testing.assert_allclose(after[outside], before[outside], atol=1)
    assert not np.allclose(after[inside], before[inside], atol=1)


def test_age_alone_needs_an_age():
    cohort = draw_cohort(40).knowing(["a", "b"])
    assert usable_families(cohort, FAST) == ["cox", "ridge", "mean"]
    trained = train_family(draw_cohort(40), "age_only", seed=0)
    assert trained.preparation.columns == ("age_years",)


def test_a_curve_that_never_falls_to_one_half_answers_with_its_last_day():
    curves = np.array([[1.0, 0.9, 0.8, 0.7], [1.0, 0.6, 0.5, 0.1]])
    assert Answers(curves).days.tolist() == [3.0, 2.0]
