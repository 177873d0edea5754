import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import find_objects

from autoseg.data.check import count_values
from autoseg.data.image import FLAT_SPACING_MM
from autoseg.fingerprint.case import Measuring
from tests.fingerprint.made_up import SCHEME, geometry, ramp


def measure(voxels, labels, grid):
    """All that is measured of an image (channel, z, y, x)."""
    measuring = Measuring(labels, scheme=SCHEME, label_voxels=count_values(labels))
    for channel in voxels:
        measuring.add(channel)
    return measuring.finish(grid)


def test_the_crop_holds_what_is_not_zero_in_some_channel():
    voxels = np.zeros((2, 4, 4, 4), dtype=np.float32)
    voxels[0, 0, 1, 2] = 1
    voxels[1, 1, 3, 2] = -1
    found = measure(voxels, np.zeros((4, 4, 4), dtype=np.uint8), geometry((4, 4, 4)))
    assert found.shape.shape_after_crop == (2, 3, 1)


def test_an_empty_image_is_not_cropped():
    found = measure(np.zeros((2, 2, 3, 4)), np.zeros((2, 3, 4), dtype=np.uint8), geometry((2, 3, 4)))
    assert found.shape.shape_after_crop == (2, 3, 4)


@given(
    arrays.arrays(np.int16, (2, 3, 4, 5), elements=st.sampled_from([0, 0, 0, 0, 3, 7])),
    arrays.arrays(np.uint8, (3, 4, 5), elements=st.sampled_from([0, 0, 1])),
)
def test_channel_by_channel_gives_what_the_whole_image_within_its_crop_gives(voxels, labels):
    found = measure(voxels, labels, geometry((3, 4, 5)))
    mask = (voxels != 0).any(axis=0)
    box = find_objects(mask.astype(int))[0] if mask.any() else (slice(None),) * 3
    inside = labels[box] > 0
    if not inside.any():
        assert found.intensities is None
        return
    for index, channel in enumerate(voxels):
        values = channel[box][inside]
        assert found.intensities.mean[index] == values.mean()
        assert (found.intensities.lowest[index], found.intensities.highest[index]) == (values.min(), values.max())
        assert set(found.intensities.table[index]) <= set(values)


def test_a_case_is_measured_within_its_crop():
    image = ramp()
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[1, 1, 1:4] = 1  # intensities 1, 2, 3
    labels[0, 0, 0] = 1  # outside the crop: does not count
    found = measure(image[None], labels, geometry(image.shape))
    assert found.shape.shape == (4, 6, 8)
    assert found.shape.shape_after_crop == (2, 4, 6)
    assert found.shape.relative_size == 48 / 192
    assert found.shape.spacing_mm == (3, 2, 1)
    assert found.shape.orientation == "RAS"
    assert found.intensities.mean == [2]
    assert (found.intensities.lowest, found.intensities.highest) == (1, 3)


def test_a_case_without_foreground_has_no_intensities():
    labels = np.zeros((4, 6, 8), dtype=np.uint8)
    found = measure(ramp()[None], labels, geometry(labels.shape))
    assert found.intensities is None


def test_a_picture_has_no_orientation():
    labels = np.ones((1, 4, 4), dtype=np.uint8)
    flat = geometry((1, 4, 4), (FLAT_SPACING_MM, 1.0, 1.0))
    found = measure(np.ones((1, 1, 4, 4)), labels, flat)
    assert found.shape.orientation is None
