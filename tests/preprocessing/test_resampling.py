import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from autoseg.preprocessing.resampling import (
    axis_matrix,
    nearest_indices,
    resample_image,
    resample_labels,
    resampled_shape,
    separate_axis,
)

ISOTROPIC = {"current_mm": (1.0, 1.0, 1.0), "new_mm": (1.0, 1.0, 1.0)}
COARSE_Z = {"current_mm": (5.0, 1.0, 1.0), "new_mm": (2.0, 1.0, 1.0)}

sizes = st.tuples(*[st.integers(1, 14)] * 3)


def skimage_resize(voxels, shape, order):
    return resize(voxels.astype(float), shape, order=order, mode="edge", anti_aliasing=False)


def test_new_shape_is_the_old_extent_over_the_new_spacing_rounded_half_to_even():
    assert resampled_shape((10, 5, 7), current_mm=(3, 1, 0.5), new_mm=(1, 2, 1)) == (30, 2, 4)


def test_a_thin_axis_keeps_at_least_one_voxel():
    assert resampled_shape((1, 9, 9), current_mm=(1, 1, 1), new_mm=(5, 1, 1)) == (1, 9, 9)


@pytest.mark.parametrize(
    ("current", "new", "axis"),
    [
        ((1, 1, 1), (2, 2, 2), None),
        ((3, 1, 1), (1, 1, 1), None),
        ((3.1, 1, 1), (1, 1, 1), 0),
        ((1, 1, 1), (1, 1, 4), 2),
        ((1, 5, 1), (5, 1, 1), 1),
        ((4, 4, 1), (4, 1, 1), None),
    ],
)
def test_an_axis_more_than_three_times_coarser_than_another_is_resampled_on_its_own(current, new, axis):
    assert separate_axis(current, new) == axis


def test_an_axis_of_unchanged_size_gets_the_identity():
    np.testing.assert_allclose(axis_matrix(7, 7, 3), np.eye(7), atol=1e-7)


def test_linear_matrix_of_two_voxels_made_four():
    np.testing.assert_allclose(axis_matrix(2, 4, 1), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])


def test_nearest_slices_of_three_made_six_and_of_six_made_three():
    assert nearest_indices(3, 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest_indices(6, 3).tolist() == [1, 3, 5]


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_cubic_resampling_is_that_of_scikit_image(old, new, seed):
    voxels = np.random.default_rng(seed).normal(size=(2, *old)).astype(np.float32)
    found = resample_image(voxels, new, **ISOTROPIC)
    for channel, got in zip(voxels, found, strict=True):
        np.testing.assert_allclose(got, skimage_resize(channel, new, 3), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_with_a_coarse_axis_slices_are_resized_and_then_the_nearest_is_taken(old, new, seed):
    from scipy.ndimage import map_coordinates

    voxels = np.random.default_rng(seed).normal(size=(1, *old)).astype(np.float32)
    slices = np.stack([skimage_resize(plane, new[1:], 3) for plane in voxels[0]])
    positions = old[0] / new[0] * (np.arange(new[0]) + 0.5) - 0.5
    grid = np.meshgrid(positions, np.arange(new[1]), np.arange(new[2]), indexing="ij")
    expected = map_coordinates(slices, grid, order=0, mode="nearest")
    np.testing.assert_allclose(resample_image(voxels, new, **COARSE_Z)[0], expected, atol=1e-5)


def test_values_stay_in_the_range_of_their_channel():
    step = np.zeros((1, 6, 6, 6), np.float32)
    step[:, 3:] = 1
    found = resample_image(step, (17, 6, 6), **ISOTROPIC)
    assert found.min() == 0
    assert found.max() == 1


def test_nothing_is_done_where_the_shape_stays():
    voxels = np.ones((1, 3, 3, 3), np.float32)
    classes = np.ones((3, 3, 3), np.int16)
    assert resample_image(voxels, (3, 3, 3), **ISOTROPIC) is voxels
    assert resample_labels(classes, (3, 3, 3), **ISOTROPIC) is classes


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_the_class_with_the_largest_share_takes_the_voxel(old, new, seed):
    classes = np.random.default_rng(seed).integers(-1, 4, old).astype(np.int16)
    shares = np.stack([skimage_resize(classes == value, new, 1) for value in range(-1, 4)])
    least, most = np.sort(shares, axis=0)[-2:]
    found = resample_labels(classes, new, **ISOTROPIC)
    decided = most - least > 1e-5
    np.testing.assert_array_equal(found[decided], (shares.argmax(0) - 1)[decided])
    taken = np.take_along_axis(shares, found[None].astype(int) + 1, axis=0)[0]
    assert (taken > most - 1e-5).all()


def test_where_classes_share_a_voxel_alike_the_nearest_voxel_decides():
    line = np.array([0, 2, 1, 0, 3, 3], np.int16).reshape(1, 1, 6)
    nearest = skimage_resize(line, (1, 1, 3), 0)
    assert resample_labels(line, (1, 1, 3), **ISOTROPIC).tolist() == nearest.tolist()


def test_a_tie_without_the_nearest_voxel_goes_to_the_lowest_class():
    block = np.array([3, 1, 1, 1, 2, 2, 2, 3], np.int16).reshape(2, 2, 2)
    assert resample_labels(block, (1, 1, 1), **ISOTROPIC).item() == 1


def test_where_four_classes_meet_there_is_no_hole():
    classes = np.array([[1, 2], [3, 4]], np.int16)[None].repeat(2, 0)
    found = resample_labels(np.kron(classes, np.ones((3, 3, 3), np.int16)), (5, 5, 5), **ISOTROPIC)
    assert set(np.unique(found)) == {1, 2, 3, 4}


def test_a_class_that_fills_a_box_is_scaled_with_it():
    classes = np.zeros((4, 4, 4), np.int16)
    classes[1:3, 0:2, 2:4] = 5
    expected = np.zeros((8, 8, 8), np.int16)
    expected[2:6, 0:4, 4:8] = 5
    found = resample_labels(classes, (8, 8, 8), **ISOTROPIC)
    corners = (found != expected) & (expected == 5)
    # Only edges of the box, where three shares of 3/4 multiply to less than a half, may be lost.
    assert not ((found == 5) & (expected == 0)).any()
    assert corners.sum() <= 8


def test_coarse_slices_of_labels_are_repeated_not_mixed():
    classes = np.stack([np.full((4, 4), 1), np.full((4, 4), 2)]).astype(np.int16)
    found = resample_labels(classes, (5, 4, 4), **COARSE_Z)
    assert found[:, 0, 0].tolist() == [1, 1, 2, 2, 2]


def test_memory_of_labels_does_not_grow_with_their_number():
    import tracemalloc

    def peak(count):
        classes = (np.arange(40**3).reshape(40, 40, 40) * count // 40**3 + 1).astype(np.int16)
        resample_labels(classes, (60, 40, 40), **ISOTROPIC)
        tracemalloc.start()
        resample_labels(classes, (60, 40, 40), **ISOTROPIC)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(30) <= 1.2 * peak(2)


def test_resampling_images_needs_no_more_than_two_further_volumes():
    import tracemalloc

    voxels = np.random.default_rng(0).normal(size=(4, 40, 40, 40)).astype(np.float32)
    resample_image(voxels, (44, 44, 44), **ISOTROPIC)
    tracemalloc.start()
    found = resample_image(voxels, (44, 44, 44), **ISOTROPIC)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < found.nbytes + 2.2 * found[0].nbytes
