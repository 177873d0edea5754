import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoseg.evaluation.overlap import Counts, confusion_matrix, counts_of

LABEL_MAPS = arrays(np.int16, (3, 4, 5), elements=st.integers(0, 3))


def test_a_hand_counted_pair_of_rows():
    reference = np.array([0, 0, 1, 1, 1, 2, 2, 0])
    predicted = np.array([0, 1, 1, 1, 2, 2, 0, 0])
    confusion = confusion_matrix(predicted, reference, classes=3)
    assert confusion.tolist() == [[2, 1, 0], [0, 2, 1], [1, 0, 1]]
    one = counts_of(confusion, [1])
    assert one == Counts(true_positive=2, false_positive=1, false_negative=1, true_negative=4)
    assert one.dice == pytest.approx(2 / 3)
    assert one.iou == pytest.approx(1 / 2)
    assert one.sensitivity == pytest.approx(2 / 3)
    assert one.specificity == pytest.approx(4 / 5)
    assert one.precision == pytest.approx(2 / 3)
    both = counts_of(confusion, [1, 2])
    assert both == Counts(true_positive=4, false_positive=1, false_negative=1, true_negative=2)


def test_ratios_without_a_denominator_are_undefined():
    nothing = Counts(true_positive=0, false_positive=0, false_negative=0, true_negative=9)
    assert (nothing.dice, nothing.iou, nothing.sensitivity, nothing.precision) == (None, None, None, None)
    assert nothing.specificity == 1
    everything = Counts(true_positive=9, false_positive=0, false_negative=0, true_negative=0)
    assert everything.specificity is None
    missed = Counts(true_positive=0, false_positive=0, false_negative=3, true_negative=6)
    assert (missed.dice, missed.sensitivity, missed.precision) == (0, 0, None)
    invented = Counts(true_positive=0, false_positive=3, false_negative=0, true_negative=6)
    assert (invented.dice, invented.sensitivity, invented.precision) == (0, None, 0)


@given(LABEL_MAPS, LABEL_MAPS)
def test_counts_agree_with_masks(predicted, reference):
    confusion = confusion_matrix(predicted, reference, classes=4)
    for classes in ([1], [2, 3], [1, 2, 3]):
        p, r = np.isin(predicted, classes), np.isin(reference, classes)
        assert counts_of(confusion, classes) == Counts(
            true_positive=np.sum(p & r),
            false_positive=np.sum(p & ~r),
            false_negative=np.sum(~p & r),
            true_negative=np.sum(~p & ~r),
        )


@given(LABEL_MAPS, LABEL_MAPS)
def test_ratios_agree_with_simpleitk(predicted, reference):
    measure = SimpleITK.LabelOverlapMeasuresImageFilter()
    measure.Execute(SimpleITK.GetImageFromArray(predicted), SimpleITK.GetImageFromArray(reference))
    confusion = confusion_matrix(predicted, reference, classes=4)
    for label in (1, 2, 3):
        counts = counts_of(confusion, [label])
        if counts.predicted and counts.reference:
            assert counts.dice == pytest.approx(measure.GetDiceCoefficient(label))
            assert counts.iou == pytest.approx(measure.GetJaccardCoefficient(label))
            assert 1 - counts.sensitivity == pytest.approx(measure.GetFalseNegativeError(label))
            assert 1 - counts.precision == pytest.approx(measure.GetFalseDiscoveryRate(label))
            if counts.specificity is not None:
                assert 1 - counts.specificity == pytest.approx(measure.GetFalsePositiveError(label), abs=1e-12)
