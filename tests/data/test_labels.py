"""Label values, classes and regions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoseg.data.labels import Label, LabelScheme, Region, derive_written_values, train_on_regions
from autoseg.errors import LabelError


def scheme(*values, regions=(), ignore=None):
    labels = tuple(Label(name=f"label_{value}", value=value) for value in values)
    return LabelScheme(labels=labels, regions=regions, ignore=ignore)


WT = Region(name="WT", values=(1, 2, 4))
TC = Region(name="TC", values=(1, 4))
ET = Region(name="ET", values=(4,))
BRATS = train_on_regions(scheme(0, 1, 2, 4, regions=(ET, WT, TC)))


def test_brats_labels_become_consecutive_and_come_back():
    values = np.array([[0, 4, 1], [2, 2, 4]])
    classes = BRATS.encode(values)
    assert classes.tolist() == [[0, 3, 1], [2, 2, 3]]
    assert BRATS.decode(classes).tolist() == values.tolist()
    assert BRATS.decode(classes).dtype == np.uint8


@given(
    values=st.sets(st.integers(-300, 70_000), min_size=2, max_size=8).map(sorted),
    picks=arrays(np.int64, (3, 4), elements=st.integers(0, 7)),
)
def test_decoding_undoes_encoding_for_any_integers(values, picks):
    on_disk = np.array(values)[picks % len(values)]
    any_scheme = scheme(*values)
    assert np.array_equal(any_scheme.decode(any_scheme.encode(on_disk)), on_disk)


def test_an_undeclared_value_is_named_with_its_voxels():
    with pytest.raises(LabelError, match=r"undeclared label value 3 \(2 voxels\); declared are 0, 1, 2, 4"):
        BRATS.encode(np.array([0, 3, 3, 4]))


def test_ignored_voxels_get_the_class_after_the_last():
    sparse = scheme(0, 1, 2, ignore=9)
    assert sparse.encode(np.array([0, 9, 2])).tolist() == [0, 3, 2]
    assert sparse.ignore_class == 3
    assert sparse.output_channels == 3


def test_each_region_writes_the_label_its_nested_regions_leave():
    assert {region.name: region.writes for region in BRATS.regions} == {"ET": 4, "WT": 2, "TC": 1}


def test_painting_the_region_masks_gives_the_labels_back():
    classes = BRATS.encode(np.array([0, 1, 2, 4, 4, 0]))
    masks = BRATS.region_masks(classes)
    assert masks.tolist() == [[0, 0, 0, 1, 1, 0], [0, 1, 1, 1, 1, 0], [0, 1, 0, 1, 1, 0]]
    assert np.array_equal(BRATS.paint(masks), classes)


def test_listed_regions_are_painted_in_their_order_even_where_an_outer_one_comes_last():
    regions = tuple(region.model_copy(update={"writes": writes}) for region, writes in ((TC, 1), (ET, 4), (WT, 2)))
    masks = np.array([[0, 1, 1, 0, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]], dtype=bool)  # TC, ET, WT
    painted = {}
    for painting in ("outer_first", "listed"):
        one = LabelScheme(labels=BRATS.labels, regions=regions, target="regions", painting=painting)
        painted[painting] = one.decode(one.paint(masks)).tolist()
    assert painted == {"outer_first": [0, 1, 4, 4, 4], "listed": [0, 1, 4, 4, 2]}


def test_schemes_that_paint_outer_regions_first_are_written_as_before_there_was_a_choice():
    assert "painting" not in BRATS.model_dump()
    listed = BRATS.model_copy(update={"painting": "listed"})
    assert LabelScheme.model_validate_json(listed.model_dump_json()) == listed
    assert LabelScheme.model_validate_json(BRATS.model_dump_json()) == BRATS


def test_a_region_that_merges_two_labels_cannot_be_written_back():
    with pytest.raises(LabelError, match="must add exactly one label"):
        derive_written_values([WT, ET])


def test_a_written_value_that_hides_a_label_is_refused():
    wrong = Region(name="TC", values=(1, 4), writes=2)
    with pytest.raises(LabelError, match="label 1 cannot be recovered"):
        derive_written_values([WT, wrong, ET])


def test_a_label_in_no_region_is_refused_as_a_target():
    with pytest.raises(LabelError, match="'label_5' \\(5\\) lies in no region"):
        train_on_regions(scheme(0, 1, 2, 4, 5, regions=(WT, TC, ET)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: scheme(0), "a background and one label"),
        (lambda: scheme(0, 1, 1), "1 is declared twice"),
        (lambda: scheme(0, 1, ignore=1), "ignore value 1 is also declared"),
        (lambda: scheme(0, 1, regions=(ET,)), "'ET' names 4"),
    ],
)
def test_a_contradictory_scheme_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_two_labels_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two labels are called 'edema'"):
        LabelScheme(labels=tuple(Label(name=name, value=value) for value, name in enumerate(("none", "edema", "edema"))))
    with pytest.raises(ValueError, match="two regions are called 'WT'"):
        scheme(0, 1, 2, 4, regions=(WT, WT))
