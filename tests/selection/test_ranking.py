import numpy as np
import pytest
from scipy.stats import wilcoxon

from autoseg.data.labels import Label, LabelScheme
from autoseg.evaluation.evaluate import summed_up
from autoseg.evaluation.scores import CaseScores, Scores
from autoseg.evaluation.settings import DEFAULT_SETTINGS
from autoseg.selection.ranking import FEWEST_CASES, NOISE, best, case_dice, mean_ranks, paired_difference, within_noise

SCHEME = LabelScheme(labels=(Label(name="background", value=0), Label(name="a", value=1), Label(name="b", value=2)))


def evaluation(rows):
    """An evaluation of cases, each {structure: (dice, hd95)}."""
    cases = [
        CaseScores(
            id=f"c{index}",
            regions={},
            labels={
                name: Scores(
                    true_positive=0,
                    false_positive=0,
                    false_negative=0,
                    true_negative=0,
                    metrics={"dice": dice, "hd95_mm": distance},
                )
                for name, (dice, distance) in row.items()
            },
            confusion=(),
            accuracy=None,
            mean_iou=None,
        )
        for index, row in enumerate(rows)
    ]
    return summed_up(
        cases, scheme=SCHEME, settings=DEFAULT_SETTINGS, metrics=("dice", "hd95_mm"), predictions="p", references="r"
    )


def test_ranks_worked_by_hand_with_a_miss_and_a_tie():
    first = evaluation([{"a": (0.9, 2.0), "b": (0.5, 5.0)}])
    second = evaluation([{"a": (0.8, 2.0), "b": (0.0, None)}])
    # a: Dice 1 and 2, distance 1.5 each; b: 1 and 2 for both.
    assert mean_ranks([first, second]) == [(1 + 1.5 + 1 + 1) / 4, (2 + 1.5 + 2 + 2) / 4]


def test_a_structure_that_nobody_can_find_counts_for_nobody():
    both = [evaluation([{"a": (0.9, 2.0), "b": (None, None)}]), evaluation([{"a": (0.8, 3.0), "b": (None, None)}])]
    assert mean_ranks(both) == [1.0, 2.0]


def test_the_criteria_may_disagree_and_a_tie_goes_to_the_first():
    steady = evaluation([{"a": (0.8, 2.0), "b": (0.8, 2.0)}] * 3)
    erratic = evaluation([{"a": (0.79, 3.0), "b": (0.79, 3.0)}] * 2 + [{"a": (1.0, 0.0), "b": (1.0, 0.0)}])
    assert best([steady, erratic], "dice") == 1
    assert best([steady, erratic], "brats") == 0
    assert best([steady, steady], "dice") == 0


def test_the_difference_is_that_of_paired_cases_and_noise_has_a_large_p():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.7, 0.9, 20), rng.uniform(0.7, 0.9, 20)
    first = evaluation([{"a": (float(x), 1.0), "b": (None, None)} for x in a])
    second = evaluation([{"a": (float(x), 1.0), "b": (None, None)} for x in b])
    difference, p = paired_difference(first, second)
    assert difference == pytest.approx((a - b).mean())
    assert p == pytest.approx(wilcoxon(a - b).pvalue)
    assert paired_difference(first, first) == (0.0, 1.0)
    np.testing.assert_allclose(case_dice(first), a)


def test_too_few_cases_tell_nothing_of_noise():
    # The smallest p value of n cases that all differ in one direction.
    lowest = {n: float(wilcoxon(np.arange(1.0, n + 1)).pvalue) for n in (FEWEST_CASES - 1, FEWEST_CASES)}
    assert lowest[FEWEST_CASES - 1] > NOISE > lowest[FEWEST_CASES]
    assert within_noise(lowest[FEWEST_CASES - 1], cases=FEWEST_CASES - 1) is None
    assert within_noise(lowest[FEWEST_CASES], cases=FEWEST_CASES) is False
    assert within_noise(0.5, cases=FEWEST_CASES) is True
    assert within_noise(None, cases=20) is None
