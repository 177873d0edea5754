"""What autoseg relies on in an augmentation policy."""

import numpy as np
import torch
from torch import Tensor

from autoseg.augmentation.policy import POLICIES, Policy, apply_steps, draw
from autoseg.augmentation.spatial import Patch, place, source_of
from autoseg.data.labels import OUTSIDE
from autoseg.testing.promise import named, require


def check_augmentation(policy: str | Policy) -> None:
    """Try a policy on isotropic, anisotropic and flat patches: chance from the generator alone, and sound patches."""
    chosen: Policy = named("augmentation policy", policy, POLICIES)
    require(isinstance(chosen, Policy), f"expected a Policy, found {type(chosen).__name__}")
    for shape in ((16, 16, 16), (4, 16, 16), (1, 16, 24)):
        for seed in range(30):
            _check_sample(chosen, shape, seed=seed)


def _check_sample(policy: Policy, shape: tuple[int, int, int], *, seed: int) -> None:
    state = torch.random.get_rng_state()
    image, classes = _augmented(policy, shape, seed=seed)
    require(torch.isfinite(image).all(), f"a patch of {shape} must stay finite")
    again, classes_again = _augmented(policy, shape, seed=seed)
    same = torch.equal(image, again) and torch.equal(classes, classes_again)
    require(same, "the same seed must give the same patch: chance may come from the generator that is passed in alone")
    require(torch.equal(state, torch.random.get_rng_state()), "torch's own generator must be left alone")
    require(set(classes.flatten().tolist()) <= {OUTSIDE, 0, 1}, f"a patch of {shape} must hold no new classes")


def _augmented(policy: Policy, shape: tuple[int, int, int], *, seed: int) -> tuple[Tensor, Tensor]:
    """A patch (channel, z, y, x) and its classes, one channel of it constant."""
    rng = np.random.default_rng(seed)
    drawn = draw(policy, rng, patch=shape, channels=2, mirror_axes=(1, 2))
    require(not set(drawn.placing.mirrored) - {1, 2}, f"only allowed axes may be mirrored, found {drawn.placing.mirrored}")
    image = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))
    image[1] = 3
    classes = (image[0] > 0).to(torch.int8)
    patch = Patch(torch.empty_like(image), torch.empty_like(classes))
    source = source_of(drawn.placing, corner=(0, 0, 0), patch=shape, shape=shape)
    box = (slice(None), *source.box)
    place(image[box], classes[source.box], drawn.placing, centre=source.centre, into=patch)
    apply_steps(patch.image, drawn)
    return patch.image, patch.classes
