import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoseg.colours import STRUCTURES
from autoseg.data.labels import Label, LabelScheme
from autoseg.viewer.classes import as_classes, counts_of_values, difference, millilitres, shown_classes

SCHEME = LabelScheme(labels=(Label(name="air", value=0), Label(name="a", value=1), Label(name="b", value=4)), ignore=9)


def test_declared_labels_come_first_and_undeclared_values_after_them():
    found = shown_classes(SCHEME, [0, 4, 7, 9])
    assert [(one.value, one.name) for one in found] == [(1, "a"), (4, "b"), (7, "7 (not declared)")]
    assert [one.colour for one in found] == list(STRUCTURES[:3])


def test_without_a_scheme_a_value_has_the_same_colour_in_every_case():
    first, second = shown_classes(None, [0, 1, 4]), shown_classes(None, [0, 4])
    assert [one.name for one in first] == ["label_1", "label_4"]
    assert first[1].colour == second[0].colour == STRUCTURES[3]


def test_values_become_places_and_ignored_ones_background():
    labels = np.array([[[0, 1, 4, 9, 7]]])
    assert as_classes(labels, shown_classes(SCHEME, [0, 1, 4, 9, 7])).tolist() == [[[0, 1, 2, 0, 3]]]
    negative = np.array([[[-3, 0, 5, 2**30]]])
    assert as_classes(negative, shown_classes(None, [-3, 0, 5, 2**30])).tolist() == [[[1, 0, 2, 3]]]


def test_a_difference_tells_what_was_invented_missed_and_confused_of_which_class():
    predicted = np.array([[[0, 1, 2, 0, 0, 1, 2]]], dtype=np.uint8)
    reference = np.array([[[0, 1, 0, 1, 2, 2, 1]]], dtype=np.uint8)
    # Two classes: 1 and 2 only predicted, 3 and 4 missed, 5 and 6 confused, by the class of the reference.
    assert difference(predicted, reference, classes=2).tolist() == [[[0, 0, 2, 3, 4, 6, 5]]]


@given(arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 3)), arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 3)))
def test_a_difference_is_zero_exactly_where_both_agree(predicted, reference):
    found = difference(predicted, reference, classes=3)
    assert ((found == 0) == (predicted == reference)).all()
    assert found.max(initial=0) <= 9


def test_many_classes_do_not_overflow():
    predicted, reference = np.array([[[200, 0, 255]]], dtype=np.uint8), np.array([[[0, 200, 1]]], dtype=np.uint8)
    assert difference(predicted, reference, classes=255).tolist() == [[[200, 455, 511]]]


@given(arrays(np.int32, (2, 3, 3), elements=st.sampled_from([0, 1, 5, 70000, -2, 2**28])))
def test_values_are_counted_whatever_their_size(labels):
    found = counts_of_values(labels)
    assert found == {int(value): int((labels == value).sum()) for value in np.unique(labels)}


def test_volumes_are_voxels_times_their_size():
    assert millilitres({0: 5, 4: 1000}, shown_classes(SCHEME, []), voxel_ml=0.002) == [0, 2]
