import numpy as np
import pytest

from autoseg.errors import ImageError
from autoseg.planning.plan import Normalisation
from autoseg.preprocessing.intensity import absent_value, normalise

EVERYWHERE = np.ones((1, 2, 2), bool)


def normalised(values, mask=EVERYWHERE, **scheme):
    voxels = np.array(values, np.float32).reshape(1, 1, 2, 2)
    normalise(voxels, [Normalisation(**scheme)], mask=mask)
    return voxels.ravel()


def test_zscore_has_mean_zero_and_deviation_one():
    np.testing.assert_allclose(normalised([0, 0, 2, 2], scheme="zscore"), [-1, -1, 1, 1])


def test_zscore_in_the_mask_neither_sees_nor_changes_the_outside():
    mask = np.array([[[False, True], [True, False]]])
    np.testing.assert_allclose(normalised([0, 4, 6, 0], mask, scheme="zscore", use_mask=True), [0, -1, 1, 0])


def test_zscore_of_an_empty_mask_changes_nothing():
    np.testing.assert_allclose(normalised([0, 0, 0, 0], ~EVERYWHERE, scheme="zscore", use_mask=True), 0)


def test_a_constant_channel_becomes_zero():
    np.testing.assert_allclose(normalised([7, 7, 7, 7], scheme="zscore"), 0)


def test_ct_is_clipped_and_scaled_by_the_numbers_of_the_data_set():
    found = normalised([-2000, 0, 50, 3000], scheme="ct", lower=-100, upper=300, mean=50, deviation=100)
    np.testing.assert_allclose(found, [-1.5, -0.5, 0, 2.5])


def test_rescaling_runs_from_zero_to_one():
    np.testing.assert_allclose(normalised([-5, 0, 5, 15], scheme="rescale_0_1"), [0, 0.25, 0.5, 1])


def test_colours_are_divided_by_255():
    np.testing.assert_allclose(normalised([0, 51, 102, 255], scheme="rgb_0_1"), [0, 0.2, 0.4, 1])


def test_colours_outside_8_bits_are_refused_with_their_range():
    with pytest.raises(ImageError, match=r"0 to 300, expected 0 to 255"):
        normalised([0, 51, 102, 300], scheme="rgb_0_1")


def test_none_leaves_values_alone():
    np.testing.assert_array_equal(normalised([1, 2, 3, 4], scheme="none"), [1, 2, 3, 4])


def test_statistics_do_not_lose_precision_far_from_zero():
    voxels = np.random.default_rng(0).normal(1000, 3, size=(1, 30, 60, 60)).astype(np.float32)
    expected = (voxels - voxels.mean(dtype=np.float64)) / voxels.std(dtype=np.float64)
    normalise(voxels, [Normalisation(scheme="zscore")], mask=np.ones(voxels.shape[1:], bool))
    np.testing.assert_allclose(voxels, expected, atol=1e-4)


def test_an_absent_channel_becomes_what_zeros_become():
    assert absent_value(Normalisation(scheme="zscore")) == 0
    assert absent_value(Normalisation(scheme="zscore", use_mask=True)) == 0
    assert absent_value(Normalisation(scheme="rescale_0_1")) == 0
    water = Normalisation(scheme="ct", lower=-100, upper=300, mean=50, deviation=25)
    assert absent_value(water) == -2
    bone = water.model_copy(update={"lower": 200.0, "mean": 250.0})
    assert absent_value(bone) == -2
