import json

import numpy as np
import pytest
import torch

from autoseg.augmentation.policy import POLICIES, apply_mask_steps, apply_steps, draw, lacking
from autoseg.augmentation.record import STEPS, as_plain, from_plain
from autoseg.augmentation.spatial import Patch, place, source_of

SHAPE = (8, 10, 12)


def many(policy, count=150):
    rng = np.random.default_rng(3)
    drawn = [draw(policy, rng, patch=SHAPE, channels=2, mirror_axes=(0, 2), previous_labels=2) for _ in range(count)]
    return [lacking(one, rng, probability=0.3, values=(0.0, -1.0)) for one in drawn]


def applied(augmentation):
    """What becomes of an image, its classes and masks of a previous stage."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, *SHAPE, generator=generator)
    classes = (image[0] > 0).to(torch.int8)
    masks = torch.stack([image[0] > 0.5, image[1] > 0.5]).float()
    patch = Patch(torch.empty_like(image), torch.empty_like(classes))
    source = source_of(augmentation.placing, corner=(0, 0, 0), patch=SHAPE, shape=SHAPE)
    place(image[(slice(None), *source.box)], classes[source.box], augmentation.placing, centre=source.centre, into=patch)
    apply_steps(patch.image, augmentation)
    apply_mask_steps(masks, augmentation)
    return patch.image, patch.classes, masks


@pytest.mark.parametrize("policy", ["nnunet", "brats", "light"])
def test_what_was_drawn_comes_back_from_json_and_does_the_very_same(policy):
    seen = set()
    for drawn in many(POLICIES[policy]):
        again = from_plain(json.loads(json.dumps(as_plain(drawn), allow_nan=False)))
        assert again == drawn
        seen |= {type(step).__name__ for step in (*drawn.steps, *drawn.mask_steps)}
    expected = set(STEPS) - ({"Shift"} if policy == "nnunet" else set())
    assert seen == expected or policy == "light"


def test_replaying_gives_the_same_patch_bit_for_bit():
    for drawn in many(POLICIES["brats"], count=20):
        again = from_plain(json.loads(json.dumps(as_plain(drawn))))
        for first, second in zip(applied(drawn), applied(again), strict=True):
            assert torch.equal(first, second)


def test_an_unknown_step_is_not_guessed():
    with pytest.raises(KeyError):
        from_plain({"placing": {"elastic": None}, "steps": [{"step": "Twist"}], "mask_steps": []})
