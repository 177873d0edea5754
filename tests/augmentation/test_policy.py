import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from autoseg.augmentation.chance import Range
from autoseg.augmentation.intensity import Absent, Blur, Brightness, Contrast, Gamma, LowResolution, Noise, Shift
from autoseg.augmentation.policy import BRATS, LIGHT, NNUNET, NONE, Augmentation, apply_steps, draw, lacking
from autoseg.augmentation.spatial import Placing

CUBE, FLAT, PICTURE, LONG_PICTURE = (64, 64, 64), (16, 64, 64), (1, 64, 64), (1, 32, 64)
DRAWS = 4000


def draws(policy=NNUNET, *, patch=CUBE, count=DRAWS, mirror_axes=(0, 1, 2), channels=4):
    rng = np.random.default_rng(0)
    return [draw(policy, rng, patch=patch, channels=channels, mirror_axes=mirror_axes) for _ in range(count)]


@pytest.fixture(scope="module")
def many():
    return draws()


def assert_probability(count, probability, of=DRAWS):
    assert binomtest(count, of, probability).pvalue > 1e-4, f"{count / of:.3f}, expected {probability}"


def steps_of(many, kind):
    return [step for drawn in many for step in drawn.steps if isinstance(step, kind)]


@pytest.mark.parametrize(
    ("kind", "probability"),
    [(Noise, 0.1), (Blur, 0.2), (Brightness, 0.15), (Contrast, 0.15), (LowResolution, 0.25)],
)
def test_each_step_is_drawn_as_often_as_nnunet_draws_it(many, kind, probability):
    assert_probability(len(steps_of(many, kind)), probability)


def test_gamma_is_drawn_more_often_than_its_inverse(many):
    found = Counter(step.inverted for step in steps_of(many, Gamma))
    assert_probability(found[True], 0.1)
    assert_probability(found[False], 0.3)


def test_rotation_and_scaling_are_drawn_independently(many):
    turned = [drawn.placing.is_turned for drawn in many]
    scaled = [drawn.placing.scales != (1, 1, 1) for drawn in many]
    assert_probability(sum(turned), 0.2)
    assert_probability(sum(scaled), 0.2)
    assert_probability(sum(a and b for a, b in zip(turned, scaled, strict=True)), 0.04)


def test_each_allowed_axis_is_mirrored_in_half_of_the_samples(many):
    for axis in range(3):
        assert_probability(sum(axis in drawn.placing.mirrored for drawn in many), 0.5)
    assert all(drawn.placing.mirrored in ((), (1,)) for drawn in draws(mirror_axes=(1,), count=100))


def test_blur_and_low_resolution_take_half_of_the_channels(many):
    for kind, field in ((Blur, "sigmas"), (LowResolution, "zooms")):
        values = [value for step in steps_of(many, kind) for value in getattr(step, field)]
        assert_probability(sum(value is not None for value in values), 0.5, of=len(values))


def test_values_lie_in_their_ranges(many):
    assert all(0 <= step.sigma <= 0.1 for step in steps_of(many, Noise))
    assert all(0.5 <= s <= 1 for step in steps_of(many, Blur) for sigmas in step.sigmas if sigmas for s in sigmas)
    assert all(0.75 <= f <= 1.25 for step in steps_of(many, Contrast) for f in step.factors)
    assert all(0.7 <= g <= 1.5 for step in steps_of(many, Gamma) for g in step.exponents)
    scales = [drawn.placing.scales for drawn in many]
    assert all(0.7 <= scale[0] <= 1.4 and len(set(scale)) == 1 for scale in scales)


def test_two_sided_ranges_are_as_often_below_one_as_above():
    rng = np.random.default_rng(0)
    values = [Range(0.7, 1.5, two_sided=True).draw(rng) for _ in range(DRAWS)]
    assert_probability(sum(value < 1 for value in values), 0.5)


def largest_angle(patch):
    return max(abs(angle) for drawn in draws(patch=patch, count=1500) for angle in drawn.placing.angles)


@pytest.mark.parametrize(("patch", "degrees"), [(CUBE, 30), (FLAT, 180), (PICTURE, 180), (LONG_PICTURE, 15)])
def test_how_far_a_patch_is_turned_depends_on_its_shape(patch, degrees):
    assert 0.9 * degrees < math.degrees(largest_angle(patch)) <= degrees


@pytest.mark.parametrize("patch", [FLAT, PICTURE])
def test_flat_patches_are_changed_within_their_slices_only(patch):
    for drawn in draws(patch=patch, count=500):
        assert drawn.placing.in_plane
        assert drawn.placing.angles[1:] == (0, 0)
        assert drawn.placing.scales[0] == 1
        assert all(step.axes == (1, 2) for step in drawn.steps if isinstance(step, LowResolution))


def test_pictures_are_not_mirrored_along_the_axis_they_do_not_have():
    assert all(0 not in drawn.placing.mirrored for drawn in draws(patch=PICTURE, count=200))


def test_the_policy_none_draws_nothing():
    assert draws(NONE, count=50) == [Augmentation(placing=Placing())] * 50


def test_the_light_policy_needs_no_interpolation():
    assert all(drawn.placing.is_grid_aligned for drawn in draws(LIGHT, count=200))


def test_the_same_generator_state_draws_the_same():
    assert draws(count=20) == draws(count=20)


def test_each_channel_is_absent_as_often_as_asked_but_never_all():
    rng, whole = np.random.default_rng(0), Augmentation()
    found = [lacking(whole, rng, probability=0.2, values=(0.0, -1.0, 0.0)) for _ in range(DRAWS)]
    absent = np.array([[value is not None for value in one.steps[0].values] if one.steps else [False] * 3 for one in found])
    assert not absent.all(axis=1).any()
    # All three would be absent in 0.8 % of the samples: one of them, by lot, stays.
    for channel in range(3):
        assert_probability(int(absent[:, channel].sum()), 0.2 - 0.2**3 / 3)
    assert {one.steps[0].values[1] for one in found if one.steps} == {None, -1.0}


def test_an_absent_channel_is_constant_whatever_else_is_drawn():
    rng = np.random.default_rng(1)
    drawn = [lacking(one, rng, probability=0.6, values=(0.0, 2.0)) for one in draws(count=40, channels=2)]
    for one in drawn:
        image = torch.rand(2, 8, 8, 8)
        apply_steps(image, one)
        last = one.steps[-1] if one.steps else None
        for channel, value in zip(image, last.values if isinstance(last, Absent) else (), strict=False):
            assert value is None or (channel == value).all()


def test_the_set_of_the_2020_winner_is_drawn_more_often_and_from_wider_ranges():
    found = draws(BRATS, channels=2)
    scaled = [drawn.placing.scales for drawn in found if drawn.placing.scales != (1, 1, 1)]
    assert_probability(sum(drawn.placing.is_turned for drawn in found), 0.3)
    assert_probability(len(scaled), 0.3)
    assert_probability(sum(len(set(scales)) == 3 for scales in scaled), 0.3, of=len(scaled))
    assert_probability(
        sum(max(scales) > 1 for scales in scaled if len(set(scales)) == 1),
        0.5,
        of=len([scales for scales in scaled if len(set(scales)) == 1]),
    )
    assert min(map(min, scaled)) == pytest.approx(0.65, abs=0.01)
    assert max(map(max, scaled)) == pytest.approx(1.6, abs=0.01)
    bent = [drawn.placing.elastic for drawn in found if drawn.placing.elastic is not None]
    assert_probability(len(bent), 0.3)
    assert max(max(one.sigmas) for one in bent) == pytest.approx(0.25 * 64, rel=0.02)
    shares = [m / s for one in bent for m, s in zip(one.magnitudes, one.sigmas, strict=True)]
    assert (min(shares), max(shares)) == pytest.approx((1 / 8, 1 / 2), rel=0.02)
    shifts = steps_of(found, Shift)
    assert_probability(len(shifts), 0.3)
    values = [value for step in shifts for value in step.values if value is not None]
    assert_probability(len(values), 0.5, of=2 * len(shifts))
    assert (np.mean(values), np.std(values)) == pytest.approx((0, 0.2), abs=0.02)
    exponents = [value for step in steps_of(found, Gamma) for value in step.exponents]
    assert (min(exponents), max(exponents)) == pytest.approx((0.5, 1.6), abs=0.01)


def test_slices_are_deformed_in_their_plane_only():
    for drawn in draws(BRATS, patch=FLAT, count=200):
        if drawn.placing.elastic is not None:
            assert drawn.placing.elastic.sigmas[0] == drawn.placing.elastic.magnitudes[0] == 0
