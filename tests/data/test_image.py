"""Geometry: orientations and the comparison of grids."""

from dataclasses import replace
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from autoseg.data.image import Geometry, compare_grids, reorient, reorient_spacing

CODES = ["".join(axes) for order in permutations(["LR", "AP", "IS"]) for axes in product(*order)]
GRID = Geometry(shape=(4, 5, 6), spacing_mm=(3.0, 1.0, 0.5), affine=np.diag([0.5, 1.0, 3.0, 1.0]))


def affine_of(code):
    return nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(code), (4, 5, 6))


@pytest.mark.parametrize("code", CODES)
def test_the_orientation_is_the_one_nibabel_finds(code):
    affine = np.linalg.inv(affine_of(code))
    assert replace(GRID, affine=affine).orientation == "".join(nib.aff2axcodes(affine))


@pytest.mark.parametrize("code", CODES)
def test_reorienting_agrees_with_nibabel_and_can_be_undone(code):
    voxels = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    turned = reorient(voxels, current="RAS", wanted=code)
    transform = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(code))
    expected = nib.orientations.apply_orientation(voxels.transpose(3, 2, 1, 0), transform).transpose(3, 2, 1, 0)
    assert np.array_equal(turned, expected)
    assert np.array_equal(reorient(turned, current=code, wanted="RAS"), voxels)


def test_spacing_follows_its_axis():
    assert reorient_spacing((3.0, 1.0, 0.5), current="RAS", wanted="SAR") == (0.5, 1.0, 3.0)
    assert reorient_spacing((3.0, 1.0, 0.5), current="RAS", wanted="LPI") == (3.0, 1.0, 0.5)


def test_equal_grids_have_no_mismatch():
    assert compare_grids(GRID, replace(GRID)) == []


def test_another_shape_is_the_only_thing_said():
    (found,) = compare_grids(GRID, replace(GRID, shape=(4, 5, 7), spacing_mm=(1.0, 1.0, 1.0)))
    assert (found.field, found.first, found.second, found.is_drift) == ("shape", "4 x 5 x 6", "4 x 5 x 7", False)


@pytest.mark.parametrize(("shift", "is_drift"), [(5e-4, True), (2e-3, False)])
def test_a_shift_under_a_thousandth_of_a_millimetre_is_drift(shift, is_drift):
    moved = GRID.affine.copy()
    moved[0, 3] += shift
    (found,) = compare_grids(GRID, replace(GRID, affine=moved))
    assert (found.field, found.is_drift) == ("origin", is_drift)


def test_a_flipped_axis_is_a_direction_mismatch():
    (found,) = compare_grids(GRID, replace(GRID, affine=np.diag([-0.5, 1.0, 3.0, 1.0])))
    assert (found.field, found.is_drift) == ("direction", False)
