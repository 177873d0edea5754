import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d

from autoseg.augmentation.intensity import Blur, Brightness, Contrast, Gamma, LowResolution, Noise

STEPS = [
    Noise(0.3, seed=5),
    Blur(((0.5, 0.7, 1.0), None)),
    Brightness((1.2, None)),
    Contrast((None, 0.8)),
    LowResolution((0.5, None)),
    Gamma((0.8, 1.3)),
    Gamma((0.8, 1.3), inverted=True),
]


def picture(shape=(2, 8, 9, 10), seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(2, 3, size=shape)).float()


def after(step, image):
    changed = image.clone()
    step.apply(changed)
    return changed


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_a_step_can_be_replayed(step):
    image = picture()
    assert torch.equal(after(step, image), after(step, image))
    assert not torch.equal(after(step, image), image)


@pytest.mark.parametrize("step", STEPS[1:5], ids=lambda step: type(step).__name__)
def test_channels_that_drew_nothing_are_left_alone(step):
    image = picture()
    values = next(iter(vars(step).values()))
    untouched = values.index(None)
    assert torch.equal(after(step, image)[untouched], image[untouched])


def test_noise_has_the_deviation_asked_for_and_differs_between_channels():
    found = after(Noise(0.3, seed=1), torch.zeros(2, 20, 20, 20))
    np.testing.assert_allclose(found.std(), 0.3, rtol=0.03)
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize(("sigma", "radius"), [(0.5, 1), (0.58, 1), (0.59, 2), (0.91, 2), (0.92, 3), (1.0, 3)])
def test_blur_is_a_gaussian_of_the_odd_size_nearest_to_six_sigma_and_a_half(sigma, radius):
    image = picture((1, 8, 9, 10))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    expected = image[0].numpy()
    for axis in range(3):
        expected = convolve1d(expected, kernel / kernel.sum(), axis=axis, mode="mirror")
    np.testing.assert_allclose(after(Blur(((sigma,) * 3,)), image)[0], expected, atol=1e-5)


def test_blur_leaves_axes_of_one_voxel_alone():
    image = picture((1, 1, 1, 10))
    torch.testing.assert_close(after(Blur(((1.0, 1.0, 0.01),)), image), image)


def test_blur_keeps_a_constant_image_even_where_the_kernel_is_longer_than_the_axis():
    image = torch.ones(1, 2, 3, 10)
    torch.testing.assert_close(after(Blur(((1.0, 1.0, 1.0),)), image), image)


def test_brightness_multiplies():
    torch.testing.assert_close(
        after(Brightness((1.5, 0.5)), picture()), picture() * torch.tensor([1.5, 0.5]).view(2, 1, 1, 1)
    )


def test_contrast_stretches_about_the_mean_and_keeps_the_range():
    image = torch.tensor([-1.0, 0, 0, 0, 0, 0, 0, 1.0]).view(1, 2, 2, 2)
    torch.testing.assert_close(after(Contrast((0.5,)), image), image / 2)
    torch.testing.assert_close(after(Contrast((2.0,)), image), image)


def test_low_resolution_makes_blocks_of_a_checkerboard_grey():
    image = torch.arange(8.0).repeat(8, 8, 1)[None]
    found = after(LowResolution((0.5,)), image)[0, 0, 0]
    # Of each pair the second voxel is kept; between them values run linearly.
    torch.testing.assert_close(found, torch.tensor([1.0, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.0]))


def test_low_resolution_spares_axes_that_are_not_named():
    image = torch.arange(8.0).view(8, 1, 1).repeat(1, 8, 8)[None]
    torch.testing.assert_close(after(LowResolution((0.5,), axes=(1, 2)), image), image)


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_keeps_mean_and_deviation(inverted):
    image = picture()
    found = after(Gamma((0.7, 1.5), inverted=inverted), image)
    for channel, got in zip(image, found, strict=True):
        torch.testing.assert_close(got.mean(), channel.mean(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(got.std(), channel.std(), atol=1e-4, rtol=1e-4)


def test_gamma_of_one_changes_nothing():
    torch.testing.assert_close(after(Gamma((1.0, 1.0)), picture()), picture(), atol=1e-5, rtol=1e-5)


def test_gamma_follows_its_formula():
    image = picture((1, 5, 6, 7))
    low, high = image.min(), image.max()
    bent = ((image - low) / (high - low)) ** 1.4 * (high - low) + low
    expected = (bent - bent.mean()) * (image.std() / bent.std()) + image.mean()
    torch.testing.assert_close(after(Gamma((1.4,)), image), expected, atol=1e-5, rtol=1e-5)


def test_inverted_gamma_is_gamma_of_the_negative_image():
    image = picture()
    torch.testing.assert_close(
        after(Gamma((0.8, 1.3), inverted=True), image), -after(Gamma((0.8, 1.3)), -image), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("step", [Contrast((1.2,)), Gamma((1.2,)), Gamma((1.2,), inverted=True)])
def test_a_constant_channel_stays_constant(step):
    image = torch.full((1, 4, 4, 4), 3.0)
    torch.testing.assert_close(after(step, image), image)
