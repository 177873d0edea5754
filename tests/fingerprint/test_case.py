import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import binary_fill_holes, find_objects

from autoseg.data.image import FLAT_SPACING_MM, Image
from autoseg.fingerprint.case import measure, nonzero_box
from tests.fingerprint.made_up import SCHEME, geometry, ramp

CORNER = (slice(0, 2), slice(1, 2), slice(2, 3))


def test_the_box_holds_what_is_not_zero_in_some_channel():
    voxels = np.zeros((2, 4, 4, 4), dtype=np.float32)
    voxels[0, 0, 1, 2] = 1
    voxels[1, 1, 1, 2] = -1
    assert nonzero_box(voxels) == CORNER


def test_the_box_of_an_empty_image_is_the_image():
    assert nonzero_box(np.zeros((1, 2, 3, 4))) == (slice(0, 2), slice(0, 3), slice(0, 4))


@given(arrays.arrays(np.int8, st.tuples(*[st.integers(1, 5)] * 4), elements=st.sampled_from([0, 0, 0, 1])))
def test_the_box_is_scipys_box_of_the_mask_with_its_holes_filled(voxels):
    mask = binary_fill_holes((voxels != 0).any(axis=0))
    expected = find_objects(mask.astype(int))[0] if mask.any() else tuple(slice(0, n) for n in mask.shape)
    assert nonzero_box(voxels) == expected


def test_a_case_is_measured_within_its_crop():
    image = ramp()
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[1, 1, 1:4] = 1  # intensities 1, 2, 3
    labels[0, 0, 0] = 1  # outside the crop: does not count
    found = measure(Image(image[None], geometry(image.shape)), labels, scheme=SCHEME, label_voxels={0: 188, 1: 4})
    assert found.shape.shape == (4, 6, 8)
    assert found.shape.shape_after_crop == (2, 4, 6)
    assert found.shape.relative_size == 48 / 192
    assert found.shape.spacing_mm == (3, 2, 1)
    assert found.shape.orientation == "RAS"
    assert found.intensities.mean == [2]
    assert (found.intensities.lowest, found.intensities.highest) == (1, 3)


def test_a_case_without_foreground_has_no_intensities():
    labels = np.zeros((4, 6, 8), dtype=np.uint8)
    found = measure(Image(ramp()[None], geometry(labels.shape)), labels, scheme=SCHEME, label_voxels={0: labels.size})
    assert found.intensities is None


def test_a_picture_has_no_orientation():
    labels = np.ones((1, 4, 4), dtype=np.uint8)
    flat = geometry((1, 4, 4), (FLAT_SPACING_MM, 1.0, 1.0))
    found = measure(Image(np.ones((1, 1, 4, 4)), flat), labels, scheme=SCHEME, label_voxels={1: 16})
    assert found.shape.orientation is None
