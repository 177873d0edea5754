import numpy as np
import pytest

from autoseg.errors import UnknownNameError
from autoseg.prediction.postprocessing import Rule, corrected
from tests.brats import BRATS

MM = (1.0, 1.0, 1.0)


def tumour():
    """A tumour of 27 voxels with 2 enhancing ones, and a speck of 2 enhancing voxels elsewhere."""
    labels = np.zeros((8, 8, 8), dtype=np.uint8)
    labels[1:4, 1:4, 1:4] = 2
    labels[2, 2, 2:4] = 4
    labels[6, 6, 6] = labels[7, 7, 7] = 4
    return labels


def test_the_largest_part_of_a_region_stays_and_the_rest_becomes_background():
    found = corrected(tumour(), [Rule(kind="largest_component", structure="WT")], scheme=BRATS, spacing_mm=MM)
    assert (found > 0).sum() == 27
    assert (found == 4).sum() == 2


def test_voxels_that_touch_by_a_corner_are_one_part():
    rule = Rule(kind="minimum_component", structure="WT", volume_ml=0.0015)
    assert (corrected(tumour(), [rule], scheme=BRATS, spacing_mm=MM) > 0).sum() == 29
    larger = Rule(kind="minimum_component", structure="WT", volume_ml=0.0025)
    assert (corrected(tumour(), [larger], scheme=BRATS, spacing_mm=MM) > 0).sum() == 27


def test_a_structure_below_its_least_volume_becomes_the_other_label():
    rule = Rule(kind="replace_small", structure="ET", volume_ml=0.0045, value=1)
    found = corrected(tumour(), [rule], scheme=BRATS, spacing_mm=MM)
    assert (found == 4).sum() == 0
    assert (found == 1).sum() == 4
    exactly = Rule(kind="replace_small", structure="ET", volume_ml=0.004, value=1)
    assert (corrected(tumour(), [exactly], scheme=BRATS, spacing_mm=MM) == 4).sum() == 4


def test_volumes_are_in_millilitres_whatever_the_spacing():
    rule = Rule(kind="replace_small", structure="ET", volume_ml=0.0045)
    assert (corrected(tumour(), [rule], scheme=BRATS, spacing_mm=(2.0, 1.0, 1.0)) == 4).sum() == 4


def test_rules_follow_each_other_and_leave_their_input_alone():
    labels = tumour()
    rules = [
        Rule(kind="largest_component", structure="WT"),
        Rule(kind="replace_small", structure="ET", volume_ml=0.003, value=2),
    ]
    found = corrected(labels, rules, scheme=BRATS, spacing_mm=MM)
    assert set(np.unique(found)) == {0, 2}
    np.testing.assert_array_equal(labels, tumour())


def test_an_empty_map_stays_empty_and_an_unknown_structure_is_named():
    empty = np.zeros((2, 2, 2), dtype=np.uint8)
    rule = Rule(kind="largest_component", structure="WT")
    assert not corrected(empty, [rule], scheme=BRATS, spacing_mm=MM).any()
    with pytest.raises(UnknownNameError, match="region or label 'WTT'"):
        corrected(empty, [Rule(kind="largest_component", structure="WTT")], scheme=BRATS, spacing_mm=MM)
