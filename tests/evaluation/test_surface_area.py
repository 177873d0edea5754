import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoseg.evaluation.surface_area import CORNERS, cell_codes, outline_lengths, surface_areas, surface_cells, surface_dice

MASKS = arrays(bool, st.tuples(*[st.integers(1, 6)] * 3), elements=st.booleans())
# The published implementation imports scipy from where it used to be.
NO_DISTANCE = 0.00123
"""Keeps a tolerance from being as good as equal to a distance, which rounding puts on either side."""

PUBLISHED = pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
SPACINGS = st.tuples(*[st.floats(0.3, 6.0)] * 3)


def nsd(first, second, spacing=(1.0, 1.0, 1.0), tolerance=1.0, *, is_flat=False):
    return surface_dice(first, second, spacing_mm=spacing, is_flat=is_flat, tolerance_mm=tolerance)


def box(shape, z, y, x):
    mask = np.zeros(shape, dtype=bool)
    mask[z, y, x] = True
    return mask


def test_a_corner_is_cut_by_a_triangle_and_a_half_cell_by_a_rectangle():
    areas = surface_areas((2.0, 3.0, 5.0))
    assert areas[0] == areas[255] == 0
    # The triangle through the middles of three edges that meet: half the length of the cross product of two sides.
    sides = np.array([-1.0, 1.5, 0.0]), np.array([-1.0, 0.0, 2.5])
    assert areas[1] == pytest.approx(np.linalg.norm(np.cross(*sides)) / 2)
    lower = sum(1 << bit for bit, corner in enumerate(CORNERS) if corner[0] == 0)
    assert areas[lower] == areas[255 - lower] == pytest.approx(3 * 5)


def test_a_code_and_its_complement_have_the_same_surface():
    areas = surface_areas((1.0, 2.0, 0.5))
    np.testing.assert_allclose(areas, areas[::-1])


def test_a_single_voxel_has_the_surface_of_an_octahedron():
    # Corners half a voxel from its centre: eight triangles with sides of the square root of one half.
    cells = surface_cells(np.ones((1, 1, 1), dtype=bool))
    codes = cell_codes(np.ones((1, 1, 1), dtype=bool), cells)
    assert surface_areas((1.0, 1.0, 1.0))[codes].sum() == pytest.approx(8 * np.sqrt(3) / 8)


def test_two_plates_at_the_tolerance_are_near_and_just_below_it_they_are_not():
    first, second = box((6, 5, 5), 0, slice(None), slice(None)), box((6, 5, 5), 3, slice(None), slice(None))
    assert nsd(first, second, (0.3, 1.0, 1.0), 0.9) == pytest.approx(1)
    assert nsd(first, second, (0.3, 1.0, 1.0), 0.59) == 0
    assert nsd(first, first, tolerance=0.0) == 1


def test_two_empty_masks_are_undefined_and_one_empty_mask_is_far():
    mask, empty = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    assert nsd(empty, empty) is None
    assert nsd(mask, empty) == nsd(empty, mask) == 0


def test_an_outline_runs_along_sides_and_across_corners():
    lengths = outline_lengths((3.0, 4.0))
    assert lengths[0] == lengths[15] == 0
    assert (lengths[0b0001], lengths[0b1110]) == (2.5, 2.5)
    assert (lengths[0b0011], lengths[0b0101]) == (4, 3)
    assert lengths[0b1001] == 5


@PUBLISHED
@settings(max_examples=60)
@given(st.data(), SPACINGS, st.floats(0, 8))
def test_it_agrees_with_the_published_implementation(data, spacing, tolerance):
    metrics = pytest.importorskip("surface_distance.metrics", reason="the published implementation is not installed")
    first = data.draw(MASKS)
    second = data.draw(arrays(bool, first.shape))
    assume(first.any() and second.any())  # it cannot do with one empty under numpy 2
    tolerance = round(tolerance, 2) + NO_DISTANCE
    wanted = metrics.compute_surface_distances(second, first, spacing)
    expected = metrics.compute_surface_dice_at_tolerance(wanted, tolerance)
    assert nsd(first, second, spacing, tolerance) == pytest.approx(expected, abs=1e-6)


@PUBLISHED
@settings(max_examples=30)
@given(arrays(bool, (1, 6, 7)), arrays(bool, (1, 6, 7)), st.floats(0.5, 3), st.floats(0, 5))
def test_outlines_agree_with_the_published_implementation(first, second, height, tolerance):
    metrics = pytest.importorskip("surface_distance.metrics", reason="the published implementation is not installed")
    assume(first.any() and second.any())
    height, tolerance = round(height, 2), round(tolerance, 2) + NO_DISTANCE
    wanted = metrics.compute_surface_distances(second[0], first[0], (height, 1.0))
    expected = metrics.compute_surface_dice_at_tolerance(wanted, tolerance)
    assert nsd(first, second, (999.0, height, 1.0), tolerance, is_flat=True) == pytest.approx(expected, abs=1e-6)
