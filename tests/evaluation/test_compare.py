import numpy as np
import pytest
from scipy import stats

from autoseg.data.labels import Label, LabelScheme
from autoseg.errors import EvaluationError
from autoseg.evaluation.compare import compare, holm
from autoseg.evaluation.compare_table import comparison_rows, reading
from autoseg.evaluation.evaluate import summed_up
from autoseg.evaluation.scores import CaseScores, Scores
from autoseg.evaluation.settings import DEFAULT_SETTINGS, Settings

SCHEME = LabelScheme(labels=tuple(Label(name=name, value=value) for value, name in enumerate(("nothing", "a", "b"))))


def evaluation(a, b, *, name="first", settings=DEFAULT_SETTINGS, ids=None, reference=9):
    """Cases with these Dice of labels a and b."""
    cases = [
        CaseScores(
            id=id_,
            regions={},
            labels={
                label: Scores(true_positive=0, false_positive=0, false_negative=0, true_negative=0, metrics={"dice": dice})
                for label, dice in (("a", one), ("b", other))
            },
            confusion=((reference, 0, 0), (0, 0, 0), (0, 0, 0)),
            accuracy=None,
            mean_iou=None,
        )
        for id_, one, other in zip(ids or map(str, range(len(a))), a, b, strict=True)
    ]
    return summed_up(cases, scheme=SCHEME, settings=settings, metrics=["dice"], predictions=name, references="r")


def test_differences_and_p_values_are_those_of_the_pairs_that_are_defined():
    rng = np.random.default_rng(0)
    first = rng.beta(8, 3, 20)
    second = first + rng.normal(0.05, 0.03, 20)
    a = [*first[:-1].tolist(), None]
    found = compare(evaluation(a, [0.5] * 20), evaluation(second.tolist(), [0.5] * 20, name="second"))
    one, other = found.labels["a"]["dice"], found.labels["b"]["dice"]
    assert (one.pairs, one.undefined) == (19, 1)
    assert one.difference == pytest.approx((second - first)[:-1].mean())
    assert one.low < one.difference < one.high
    assert one.p == pytest.approx(stats.wilcoxon(second[:-1], first[:-1]).pvalue)
    assert one.corrected_p == one.p  # the other structure does not differ at all, so it is not tested
    assert (other.difference, other.p, other.corrected_p) == (0, None, None)
    assert "Dice of label a" in reading(found, ["dice"])
    rows = comparison_rows(found, ["dice"])
    assert rows[1][0] == "Dice a"
    assert rows[1][-1] == "19"


def test_holms_correction_multiplies_the_smallest_by_the_number_of_tests():
    assert holm([0.04, 0.01, None, 0.03]) == pytest.approx([0.06, 0.03, None, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_cases_in_another_order_are_paired_by_their_name():
    found = compare(evaluation([0.1, 0.9], [0, 0], ids="xy"), evaluation([0.9, 0.1], [0, 0], ids="yx"))
    assert found.labels["a"]["dice"].difference == 0


def test_sets_that_cannot_be_compared_are_refused_with_the_reason():
    first = evaluation([0.5, 0.6], [0, 0])
    with pytest.raises(EvaluationError, match=r"only in first: 1"):
        compare(first, evaluation([0.5], [0], name="second"))
    with pytest.raises(EvaluationError, match="different settings"):
        compare(first, evaluation([0.5, 0.6], [0, 0], settings=Settings(tolerance_mm=2.0)))
    with pytest.raises(EvaluationError, match="case 0: the sets were held against different references"):
        compare(first, evaluation([0.5, 0.6], [0, 0], reference=8))
