import numpy as np
import pytest
import SimpleITK
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from autoseg.evaluation.surface import surface, surface_distances

MASKS = arrays(bool, st.tuples(*[st.integers(1, 6)] * 3), elements=st.booleans())
SPACINGS = st.tuples(*[st.floats(0.3, 6.0)] * 3)


def box(shape, z, y, x):
    mask = np.zeros(shape, dtype=bool)
    mask[z, y, x] = True
    return mask


def distances(first, second, spacing=(1.0, 1.0, 1.0), *, is_flat=False):
    return surface_distances(first, second, spacing_mm=spacing, is_flat=is_flat)


def brute_force(first, second, spacing):
    """Every surface voxel against every other, surfaces by erosion with a cross."""
    points = []
    for mask in (first, second):
        eroded = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1), border_value=0)
        points.append(np.argwhere(mask & ~eroded) * np.array(spacing))
    gaps = np.linalg.norm(points[0][:, None] - points[1][None], axis=2)
    return gaps.min(axis=1), gaps.min(axis=0)


def test_two_plates_three_millimetres_apart_are_three_millimetres_apart_at_every_percentile():
    first = box((4, 6, 6), 0, slice(1, 5), slice(1, 5))
    second = box((4, 6, 6), 2, slice(1, 5), slice(1, 5))
    found = distances(first, second, (1.5, 1.0, 1.0))
    for percentile in (0, 50, 95, 100):
        assert found.hausdorff(percentile) == pytest.approx(3.0)


def test_a_box_grown_by_one_slice_at_one_side():
    small = box((10, 9, 9), slice(2, 5), slice(2, 7), slice(2, 7))
    large = box((10, 9, 9), slice(2, 6), slice(2, 7), slice(2, 7))
    found = distances(large, small, (4.0, 1.0, 1.0))
    # Of the larger box only the 25 voxels of the new slice lie off the other surface: at most 4 mm (one slice) away.
    assert found.from_prediction.max() == pytest.approx(4.0)
    assert np.count_nonzero(found.from_prediction) == 25
    # The old top slice's inner 3 x 3 voxels are now inside; the nearest surface is sideways, 1 or 2 mm away.
    assert sorted(set(found.from_reference.round(6))) == [0, 1, 2]
    assert found.hausdorff(100) == pytest.approx(4.0)


def test_the_larger_direction_counts():
    point = box((1, 1, 40), 0, 0, slice(0, 1))
    with_outlier = point | box((1, 1, 40), 0, 0, slice(30, 31))
    found = distances(point, with_outlier)
    assert found.from_prediction.tolist() == [0]
    assert found.from_reference.tolist() == [0, 30]
    assert found.hausdorff(95) == pytest.approx(28.5)
    assert distances(with_outlier, point).hausdorff(95) == pytest.approx(28.5)


def test_equal_masks_are_at_distance_zero():
    mask = box((5, 5, 5), slice(1, 4), slice(1, 4), slice(1, 4))
    assert distances(mask, mask).hausdorff(95) == 0


def test_an_empty_mask_has_no_distance():
    mask, empty = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    assert distances(mask, empty).hausdorff(95) is None
    assert distances(empty, mask).hausdorff(95) is None
    assert distances(empty, empty).hausdorff(95) is None


def test_a_flat_image_has_its_surface_in_the_plane():
    disc = box((1, 7, 7), 0, slice(1, 6), slice(1, 6))
    assert surface(disc, is_flat=True).sum() == 16
    assert surface(disc, is_flat=False).sum() == 25


@settings(max_examples=60)
@given(st.data(), SPACINGS)
def test_distances_agree_with_brute_force(data, spacing):
    first = data.draw(MASKS)
    second = data.draw(arrays(bool, first.shape))
    assume(first.any() and second.any())
    found = distances(first, second, spacing)
    wanted = brute_force(first, second, spacing)
    np.testing.assert_allclose(found.from_prediction, wanted[0], atol=1e-6)
    np.testing.assert_allclose(found.from_reference, wanted[1], atol=1e-6)
    for percentile in (95, 100):
        expected = max(np.percentile(side, percentile) for side in wanted)
        assert found.hausdorff(percentile) == pytest.approx(expected, abs=1e-6)
    assert found.average() == pytest.approx(np.concatenate(wanted).mean(), abs=1e-6)


def by_simpleitk(first, second, spacing):
    """Directed surface distances from SimpleITK's contours and its distance maps."""
    contours, maps = [], []
    for mask in (first, second):
        image = SimpleITK.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
        image.SetSpacing([float(step) for step in reversed(spacing)])
        contour = SimpleITK.LabelContour(image, fullyConnected=False)
        squared = SimpleITK.SignedMaurerDistanceMap(contour, squaredDistance=True, useImageSpacing=True)
        contours.append(SimpleITK.GetArrayFromImage(contour) > 0)
        maps.append(np.sqrt(np.abs(SimpleITK.GetArrayFromImage(squared).astype(np.float64))))
    return maps[1][contours[0]], maps[0][contours[1]]


# Quarters, as SimpleITK's distance maps are in single precision.
@settings(max_examples=40)
@given(st.data(), st.tuples(*[st.integers(1, 24)] * 3))
def test_all_distances_agree_with_simpleitk(data, quarters):
    spacing = tuple(quarter / 4 for quarter in quarters)
    first = data.draw(MASKS)
    second = data.draw(arrays(bool, first.shape))
    assume(first.any() and second.any())
    found = distances(first, second, spacing)
    wanted = by_simpleitk(first, second, spacing)
    for percentile in (95, 100):
        expected = max(np.percentile(side, percentile) for side in wanted)
        assert found.hausdorff(percentile) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert found.average() == pytest.approx(np.concatenate(wanted).mean(), rel=1e-6, abs=1e-6)


def test_the_average_distance_is_over_the_surface_voxels_of_both_masks():
    plate = box((1, 1, 9), 0, 0, slice(0, 1))
    pair = plate | box((1, 1, 9), 0, 0, slice(6, 7))
    # One voxel is at 0 of the pair; of the pair, one is at 0 and one at 6 voxels of 2 mm.
    assert distances(plate, pair, (1.0, 1.0, 2.0)).average() == pytest.approx(12 / 3)
    assert distances(plate, np.zeros_like(plate)).average() is None


def test_far_voxels_are_found_as_well_as_near_ones():
    rng = np.random.default_rng(0)
    first, second = np.zeros((2, 40, 40, 40), dtype=bool)
    first[tuple(rng.integers(0, 12, (3, 60)))] = True
    second[tuple(rng.integers(8, 40, (3, 60)))] = True
    found, wanted = distances(first, second, (3.0, 0.7, 1.1)), brute_force(first, second, (3.0, 0.7, 1.1))
    np.testing.assert_allclose(found.from_prediction, wanted[0], atol=1e-9)
    np.testing.assert_allclose(found.from_reference, wanted[1], atol=1e-9)
    assert found.average() == pytest.approx(np.concatenate(wanted).mean(), abs=1e-9)
