import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_fill_holes, find_objects

from autoseg.data.box import around, nonzero_box, whole

SHAPES = st.tuples(*[st.integers(1, 5)] * 3)


@given(arrays(np.int8, SHAPES, elements=st.sampled_from([0, 0, 0, 1])))
def test_the_box_is_scipys_box_of_the_mask_with_its_holes_filled(voxels):
    mask = binary_fill_holes(voxels != 0)
    expected = find_objects(mask.astype(int))[0] if mask.any() else None
    assert nonzero_box(voxels) == expected


@given(arrays(bool, (3, 4, 5)), arrays(bool, (3, 4, 5)))
def test_the_box_around_two_boxes_is_that_of_both_masks(first, second):
    assert around(nonzero_box(first), nonzero_box(second)) == nonzero_box(first | second)


def test_the_whole_box_holds_every_voxel():
    assert np.ones((2, 3, 4))[whole((2, 3, 4))].shape == (2, 3, 4)
