"""The same image changed by autoseg and by nnU-Net's own library, where that is installed: equal in distribution."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from autoseg.augmentation.policy import BRATS, NNUNET, NONE, apply_steps, draw
from autoseg.augmentation.spatial import Patch, place, source_of

pytest.importorskip("batchgeneratorsv2", reason="batchgeneratorsv2 is not installed")
pytestmark = pytest.mark.slow

SIDE, WHOLE, REPEATS = 20, 40, 600
SPATIAL = ("rotation", "scaling", "elastic")
CORNER = (WHOLE - SIDE) // 2
LARGEST_DEVIATION = 4.5
"""Standard errors that the two means may differ by: 33 comparisons leave nothing to chance at this many."""


def theirs(name):
    from batchgeneratorsv2.transforms.intensity.brightness import (
        BrightnessAdditiveTransform,
        MultiplicativeBrightnessTransform,
    )
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    size = (SIDE,) * 3
    quarter, wide = BGContrast((0.75, 1.25)), BGContrast((0.7, 1.5))
    return {
        "noise": lambda: GaussianNoiseTransform((0, 0.1), 1, True),
        "blur": lambda: GaussianBlurTransform((0.5, 1.0), False, False, 0.5),
        "brightness": lambda: MultiplicativeBrightnessTransform(quarter, False, 1),
        "shift": lambda: BrightnessAdditiveTransform(0, 0.2, False, 0.5),
        "contrast": lambda: ContrastTransform(quarter, True, False, 1),
        "low_resolution": lambda: SimulateLowResolutionTransform((0.5, 1), False, True, None, None, 0.5),
        "inverted_gamma": lambda: GammaTransform(wide, 1, False, 1, 1),
        "gamma": lambda: GammaTransform(wide, 0, False, 1, 1),
        "rotation": lambda: SpatialTransform(size, 0, False, p_rotation=1, rotation=(-np.pi / 6, np.pi / 6)),
        "scaling": lambda: SpatialTransform(
            size, 0, False, p_scaling=1, scaling=(0.7, 1.4), p_synchronize_scaling_across_axes=1
        ),
        "elastic": lambda: SpatialTransform(
            size,
            0,
            False,
            p_elastic_deform=1,
            elastic_deform_scale=(0, 0.25),
            elastic_deform_magnitude=displacement,
            p_synchronize_def_scale_across_axes=1,
        ),
    }[name]()


def displacement(image, dim=None, patch_size=None, deformation_scale=None, **_):
    """The largest displacement in voxels, an eighth to half of the smoothing."""
    return np.random.uniform(1 / 8, 1 / 2) * deformation_scale * patch_size[dim]


def always(name):
    """The policy that draws only this augmentation, every time."""
    if name == "rotation":
        return replace(NONE, rotation=1.0)
    source = BRATS if name in ("elastic", "shift") else NNUNET
    return replace(NONE, **{name: replace(getattr(source, name), sample=1.0)})


@pytest.fixture(scope="module")
def volume():
    noise = np.random.default_rng(0).normal(size=(2, WHOLE, WHOLE, WHOLE))
    smooth = gaussian_filter(noise, (0, 1, 1, 1))
    return torch.from_numpy(smooth / smooth.std()).float()


def middle(volume):
    inside = slice(CORNER, CORNER + SIDE)
    return volume[:, inside, inside, inside].clone()


def ours(volume, policy, rng):
    drawn = draw(policy, rng, patch=(SIDE,) * 3, channels=2, mirror_axes=())
    source = source_of(drawn.placing, corner=(CORNER,) * 3, patch=(SIDE,) * 3, shape=(WHOLE,) * 3)
    box = (slice(None), *source.box)
    patch = Patch(torch.empty(2, SIDE, SIDE, SIDE), torch.empty(SIDE, SIDE, SIDE))
    place(volume[box], volume[box][0], drawn.placing, centre=source.centre, into=patch)
    apply_steps(patch.image, drawn)
    return patch.image


def changes(make, image):
    """Mean and mean square of the change and deviation of the result, over repeats: their means and standard errors."""
    found = []
    for _ in range(REPEATS):
        changed = make()
        found.append([float((changed - image).mean()), float(((changed - image) ** 2).mean()), float(changed.std())])
    return np.mean(found, axis=0), np.std(found, axis=0) / REPEATS**0.5


@pytest.mark.parametrize(
    "name",
    [*("noise", "blur", "brightness", "shift", "contrast", "low_resolution", "inverted_gamma", "gamma"), *SPATIAL],
)
def test_the_change_of_the_image_has_the_same_mean_and_variance(volume, name):
    np.random.seed(0)  # the other library has no other way
    torch.manual_seed(0)
    image, transform, policy, rng = middle(volume), theirs(name), always(name), np.random.default_rng(1)
    is_spatial = name in SPATIAL
    start = volume if is_spatial else image
    extra = {"segmentation": torch.zeros(1, *volume.shape[1:])} if is_spatial else {}
    mean, error = changes(lambda: ours(volume, policy, rng), image)
    mean_there, error_there = changes(lambda: transform(image=start.clone(), **extra)["image"], image)
    deviation = np.abs(mean - mean_there) / np.sqrt(error**2 + error_there**2 + 1e-12)
    assert (deviation < LARGEST_DEVIATION).all(), f"{mean} against {mean_there}"


@pytest.mark.parametrize("name", SPATIAL)
def test_label_sets_are_kept_as_there(volume, name):
    """Every label of the case is found in patches of both, and none besides."""
    np.random.seed(0)
    torch.manual_seed(0)
    cells = torch.arange(WHOLE) // 10
    labels = (cells[:, None, None] + cells[:, None] + cells) % 4
    transform, policy, rng = theirs(name), always(name), np.random.default_rng(1)
    ours_found, theirs_found = set(), set()
    for _ in range(20):
        found = transform(image=volume.clone(), segmentation=labels[None].float())["segmentation"]
        theirs_found |= set(found.unique().tolist())
        drawn = draw(policy, rng, patch=(SIDE,) * 3, channels=2, mirror_axes=())
        source = source_of(drawn.placing, corner=(CORNER,) * 3, patch=(SIDE,) * 3, shape=(WHOLE,) * 3)
        patch = Patch(torch.empty(2, SIDE, SIDE, SIDE), torch.empty((SIDE,) * 3, dtype=torch.int8))
        box = (slice(None), *source.box)
        place(volume[box], labels[source.box].to(torch.int8), drawn.placing, centre=source.centre, into=patch)
        ours_found |= set(patch.classes.unique().tolist())
    assert ours_found == theirs_found == {0, 1, 2, 3}
