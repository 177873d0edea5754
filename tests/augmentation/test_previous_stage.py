import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import binomtest
from skimage.measure import label as components
from skimage.morphology import ball

from autoseg.augmentation.policy import LIGHT, NNUNET, apply_mask_steps, draw
from autoseg.augmentation.previous_stage import OPERATIONS, RemoveComponent, Reshape

DRAWS = 4000


def draws(policy=NNUNET, *, labels, count=DRAWS):
    rng = np.random.default_rng(0)
    return [draw(policy, rng, patch=(32, 32, 32), channels=1, mirror_axes=(), previous_labels=labels) for _ in range(count)]


def blobs(shape, *, share, seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)
    return noise > np.quantile(noise, 1 - share)


def by_scipy(mask, operation, radius):
    """The four operations with a ball as scipy does them; what lies beyond the border does not count."""

    def dilate(values):
        return ndimage.binary_dilation(values, ball(radius))

    def erode(values):
        return ndimage.binary_erosion(values, ball(radius), border_value=1)

    steps = {"dilate": (dilate,), "erode": (erode,), "close": (dilate, erode), "open": (erode, dilate)}[operation]
    for step in steps:
        mask = step(mask)
    return mask


@pytest.mark.parametrize("operation", list(OPERATIONS))
@pytest.mark.parametrize(
    ("radius", "share", "shape"), [(1, 0.5, (9, 11, 13)), (3, 0.1, (20, 17, 12)), (8, 0.05, (24, 6, 20))]
)
def test_a_mask_is_reshaped_with_a_ball_as_scipy_does_it(operation, radius, share, shape):
    mask = blobs(shape, share=share, seed=radius)
    masks = torch.from_numpy(mask[None].astype(np.float32))
    Reshape(0, operation, radius).apply(masks)
    np.testing.assert_array_equal(masks[0].numpy() > 0, by_scipy(mask, operation, radius))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(sorted(OPERATIONS)))
def test_labels_stay_apart_and_only_a_growing_one_takes_voxels(seed, radius, operation):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 4, (6, 7, 8)) * (rng.random((6, 7, 8)) < 0.3)
    before = torch.from_numpy(np.stack([classes == value for value in (1, 2, 3)]).astype(np.float32))
    after = before.clone()
    Reshape(1, operation, radius).apply(after)
    assert after.sum(0).max() <= 1
    lost = (before[[0, 2]] > after[[0, 2]]).any(0)
    assert bool((after[1][lost] == 1).all())
    assert bool((after[[0, 2]] <= before[[0, 2]]).all())


def test_an_empty_mask_stays_empty():
    for operation in OPERATIONS:
        masks = torch.zeros(2, 4, 4, 4)
        Reshape(0, operation, 3).apply(masks)
        assert not masks.any()


def test_one_small_component_is_removed_and_no_large_one():
    masks = torch.zeros(2, 10, 10, 10)
    masks[0, :, :, :2] = 1  # 200 of 1000 voxels
    masks[0, 0, 0, 8] = masks[0, 1, 1, 9] = 1  # joined by a corner
    masks[0, 9, 9, 9] = 1
    masks[1, 5, 5, 5] = 1
    for choice, left in ((0.0, 201), (0.49, 201), (0.5, 202), (0.999, 202)):
        changed = masks.clone()
        RemoveComponent(0, choice).apply(changed)
        assert int(changed[0].sum()) == left
        assert components(changed[0].numpy()).max() == 2
        assert torch.equal(changed[1], masks[1])
    alone = torch.zeros(1, 10, 10, 10)
    alone[0, :, :, :2] = 1
    RemoveComponent(0, 0.0).apply(alone)
    assert int(alone.sum()) == 200


def assert_probability(count, probability, of=DRAWS):
    assert binomtest(count, of, probability).pvalue > 1e-4, f"{count / of:.3f}, expected {probability}"


def test_steps_are_drawn_as_often_as_nnunet_draws_them():
    many = draws(labels=3)
    reshapes = [[s for s in drawn.mask_steps if isinstance(s, Reshape)] for drawn in many]
    removals = [[s for s in drawn.mask_steps if isinstance(s, RemoveComponent)] for drawn in many]
    # Of three labels each takes part in half of the samples that do, so an eighth of those shows nothing.
    assert_probability(sum(map(bool, reshapes)), 0.4 * 7 / 8)
    assert_probability(sum(map(bool, removals)), 0.2 * 7 / 8)
    for number in range(3):
        assert_probability(sum(step.label == number for steps in reshapes for step in steps), 0.2)
        assert_probability(sum(step.label == number for steps in removals for step in steps), 0.1)
    drawn = [step for steps in reshapes for step in steps]
    for radius in range(1, 9):
        assert_probability(sum(step.radius == radius for step in drawn), 1 / 8, of=len(drawn))
    for operation in OPERATIONS:
        assert_probability(sum(step.operation == operation for step in drawn), 1 / 4, of=len(drawn))
    assert {steps[0].label for steps in reshapes if len(steps) == 3} == {0, 1, 2}


def test_a_network_without_a_previous_stage_draws_what_it_always_drew():
    with_masks = draws(labels=2, count=1)[0]
    without = draws(labels=0, count=1)[0]
    assert (without.placing, without.steps, without.mask_steps) == (with_masks.placing, with_masks.steps, ())


def test_drawn_steps_can_be_applied_again():
    drawn = next(found for found in draws(LIGHT, labels=2) if len(found.mask_steps) > 2)
    start = torch.from_numpy(np.stack([blobs((16, 16, 16), share=0.1, seed=seed) for seed in (0, 1)]).astype(np.float32))
    first, second = start.clone(), start.clone()
    apply_mask_steps(first, drawn)
    apply_mask_steps(second, drawn)
    assert torch.equal(first, second)
    assert not torch.equal(first, start)
