from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes

from autoseg.data.image import FLAT_SPACING_MM
from autoseg.data.labels import OUTSIDE
from autoseg.errors import ImageError
from autoseg.preprocessing.case import body, prepare, restore
from tests.preprocessing.making import configuration, image, plan

ORIENTATIONS = [
    "".join(code)
    for axes in permutations(("RL", "AP", "SI"))
    for code in [(axes[0][0], axes[1][0], axes[2][0]), (axes[0][1], axes[1][0], axes[2][1])]
]


def test_the_crop_is_the_box_around_what_is_not_zero_in_any_channel():
    voxels = np.zeros((2, 6, 7, 8))
    voxels[0, 1, 2, 3] = 5
    voxels[1, 3, 2, 6] = -1
    box, mask = body(voxels)
    assert box == ((1, 4), (2, 3), (3, 7))
    assert mask.sum() == 2


def test_holes_in_the_body_belong_to_it():
    voxels = np.zeros((1, 5, 5, 5))
    voxels[0, 1:4, 1:4, 1:4] = 1
    voxels[0, 2, 2, 2] = 0
    assert body(voxels)[1].all()


@settings(deadline=None, max_examples=50)
@given(st.tuples(*[st.integers(1, 7)] * 3), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_holes_are_filled_as_scipy_fills_those_of_the_whole_image(shape, density, seed):
    voxels = (np.random.default_rng(seed).random((1, *shape)) < density).astype(float)
    box, mask = body(voxels)
    inside = tuple(slice(*part) for part in box)
    np.testing.assert_array_equal(mask, binary_fill_holes(voxels[0] != 0)[inside])


def test_an_empty_image_is_kept_whole():
    box, mask = body(np.zeros((1, 2, 3, 4)))
    assert box == ((0, 2), (0, 3), (0, 4))
    assert not mask.any()


def test_background_outside_the_body_is_marked_and_labels_there_are_kept():
    voxels = np.zeros((1, 3, 3, 3))
    voxels[0, :, 0, 0] = voxels[0, 0, :, 0] = voxels[0, 0, 0, :] = 1
    classes = np.zeros((3, 3, 3), int)
    classes[0, 0, 0] = 1
    classes[2, 2, 2] = 2
    config = configuration()
    found = prepare(image(voxels), plan(config), config, classes=classes).classes
    assert found[0, 0, 0] == 1
    assert found[0, 0, 1] == 0
    assert found[2, 2, 2] == 2
    assert (found == OUTSIDE).sum() == 27 - 7 - 1


def test_cases_without_labels_are_prepared_for_prediction():
    config = configuration()
    prepared = prepare(image(np.ones((1, 2, 2, 2), np.int16)), plan(config), config)
    assert prepared.classes is None
    assert prepared.image.dtype == np.float32


def test_the_image_of_the_caller_is_not_changed():
    config = configuration(scheme="zscore")
    voxels = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    prepare(image(voxels), plan(config), config)
    np.testing.assert_array_equal(voxels.ravel(), np.arange(8))


def test_axes_are_turned_and_permuted_before_anything_else():
    voxels = np.arange(1, 25).reshape(1, 2, 3, 4)
    config = configuration()
    prepared = prepare(image(voxels, orientation="LAS"), plan(config, orientation="RAS", transpose=(2, 0, 1)), config)
    np.testing.assert_array_equal(prepared.image[0], voxels[0, :, :, ::-1].transpose(2, 0, 1))


def test_the_same_anatomy_stored_in_another_orientation_gives_the_same_network_input():
    rng = np.random.default_rng(0)
    voxels = rng.normal(size=(1, 4, 5, 6)).astype(np.float32)
    config = configuration(spacing_mm=(2.0, 1.0, 1.0), scheme="zscore")
    the_plan = plan(config, orientation="RAS")
    stored = voxels[:, ::-1, :, :].transpose(0, 1, 3, 2)  # y and x exchanged, z flipped
    first = prepare(image(voxels, orientation="RAS", spacing_mm=(3.0, 2.0, 1.0)), the_plan, config)
    second = prepare(image(stored, orientation="ARI", spacing_mm=(3.0, 1.0, 2.0)), the_plan, config)
    np.testing.assert_allclose(first.image, second.image, atol=1e-6)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("transpose", list(permutations(range(3))))
def test_restoring_undoes_turning_and_cropping(orientation, transpose):
    voxels = np.zeros((2, 5, 6, 7), np.float32)
    voxels[:, 1:4, 2:5, 1:6] = np.random.default_rng(0).normal(size=(2, 3, 3, 5)) + 9
    config = configuration(channels=2)
    prepared = prepare(image(voxels, orientation=orientation), plan(config, orientation="LPS", transpose=transpose), config)
    np.testing.assert_array_equal(restore(prepared.image, prepared.placement), voxels)


def test_outside_the_crop_restoring_fills():
    voxels = np.zeros((1, 3, 3, 3))
    voxels[0, 1, 1, 1] = 1
    config = configuration()
    placement = prepare(image(voxels), plan(config), config).placement
    restored = restore(np.full((1, 1, 1), 7, np.uint8), placement, 3)
    assert restored.dtype == np.uint8
    assert restored[1, 1, 1] == 7
    assert (restored == 3).sum() == 26


def test_resampling_keeps_image_and_classes_on_one_grid():
    config = configuration(spacing_mm=(1.0, 1.0, 2.0))
    prepared = prepare(
        image(np.ones((1, 3, 4, 8)), spacing_mm=(2.0, 1.0, 1.0)), plan(config), config, classes=np.ones((3, 4, 8), int)
    )
    assert prepared.image.shape[1:] == prepared.classes.shape == prepared.placement.network_shape == (6, 4, 4)
    assert prepared.placement.cropped_shape == (3, 4, 8)


def test_in_two_dimensions_slices_keep_their_distance():
    config = configuration(spacing_mm=(1.0, 1.0))
    prepared = prepare(image(np.ones((1, 3, 4, 4)), spacing_mm=(7.0, 2.0, 2.0)), plan(config), config)
    assert prepared.placement.network_shape == (3, 8, 8)
    assert prepared.placement.network_spacing_mm == (7.0, 1.0, 1.0)


def test_a_picture_is_one_slice():
    config = configuration(spacing_mm=(1.0, 1.0))
    prepared = prepare(image(np.ones((1, 1, 4, 5)), spacing_mm=(FLAT_SPACING_MM, 1.0, 1.0)), plan(config), config)
    assert prepared.image.shape == (1, 1, 4, 5)


def test_a_wrong_number_of_channels_is_refused_with_the_names_of_the_right_ones():
    config = configuration(channels=2)
    with pytest.raises(ImageError, match="has 1 channel, the plan expects 2 \\(channel0, channel1\\)"):
        prepare(image(np.ones((1, 2, 2, 2))), plan(config), config)
