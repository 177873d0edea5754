from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoseg.augmentation.policy import NNUNET
from autoseg.errors import TrainingError
from autoseg.planning.plan import TrainingSettings
from autoseg.preprocessing.case import prepare
from autoseg.preprocessing.store import open_case, save_case
from autoseg.training.patches import PatchSource
from autoseg.training.previous_stage import as_masks, joined, parted
from tests.preprocessing.making import LABELS, configuration, image, plan


@pytest.fixture
def case(tmp_path):
    """A case of noise with blocks of two classes."""
    rng = np.random.default_rng(0)
    classes = np.kron(rng.integers(0, 3, (4, 5, 6)), np.ones((4, 4, 4), int))
    config = configuration(channels=2)
    voxels = rng.normal(size=(2, *classes.shape)) + 9
    save_case(tmp_path, "a", prepare(image(voxels), plan(config), config, classes=classes), labels=LABELS, made_from="x")
    return open_case(tmp_path, "a")


def source(case, *, patch=(8, 8, 8), augment=True, **training):
    config = configuration(spacing_mm=(1.0,) * 3, patch_size=patch, batch_size=2, channels=2)
    return PatchSource([case], configuration=config, training=TrainingSettings(**training), labels=LABELS, augment=augment)


@given(st.integers(1, 250), st.integers(0, 10**6))
def test_two_maps_in_one_come_apart_again(labels, seed):
    rng = np.random.default_rng(seed)
    classes, previous = rng.integers(-1, labels + 2, 50), rng.integers(0, labels + 1, 50)
    found = parted(
        torch.from_numpy(joined(classes.astype(np.int16), previous.astype(np.int16), labels=labels)), labels=labels
    )
    np.testing.assert_array_equal(found[0], classes)
    np.testing.assert_array_equal(found[1], previous)


def test_what_lies_outside_the_case_was_not_found_before():
    classes, previous = parted(torch.tensor([-1]), labels=4)
    assert (int(classes), int(previous)) == (-1, 0)


def test_a_mask_per_foreground_label_follows_the_image(case):
    with_masks = source(replace(case, previous=case.classes), augment=False).batch(0, 3)
    without = source(case, augment=False).batch(0, 3)
    assert with_masks.image.shape == (2, 4, 8, 8, 8)
    assert torch.equal(with_masks.image[:, :2], without.image)
    assert torch.equal(with_masks.target, without.target)
    for number in (1, 2):
        assert torch.equal(with_masks.image[:, 1 + number], (with_masks.target == number).float())


def test_masks_move_with_the_labels_through_every_placing(case, monkeypatch):
    still = replace(NNUNET, reshaping=replace(NNUNET.reshaping, sample=0.0), removal=replace(NNUNET.removal, sample=0.0))
    moved = replace(still, rotation=0.8, scaling=replace(still.scaling, sample=0.8))
    monkeypatch.setattr("autoseg.training.patches.POLICIES", {"nnunet": moved})
    patches = source(replace(case, previous=np.array(case.classes)))
    placings = set()
    for iteration in range(12):
        batch = patches.batch(0, iteration)
        for number in (1, 2):
            assert torch.equal(batch.image[:, 1 + number], (batch.target == number).float())
        placing = patches.draw(0, iteration, index=0).augmentation.placing
        placings.add((placing.is_turned, placing.is_grid_aligned))
    assert len(placings) == 3


def test_the_image_and_the_target_do_not_depend_on_what_was_found_before(case):
    empty = replace(case, previous=np.zeros_like(case.classes))
    for iteration in range(6):
        first, second = source(case).batch(0, iteration), source(empty).batch(0, iteration)
        assert torch.equal(first.target, second.target)
        assert torch.equal(first.image, second.image[:, :2])
        assert not second.image[:, 2:].any()


def test_masks_are_changed_in_training_and_again_in_the_same_way(case):
    patches = source(replace(case, previous=np.array(case.classes)))
    reached = [i for i in range(30) if patches.draw(0, i, index=0).augmentation.mask_steps]
    assert reached
    changed = 0
    for iteration in reached:
        batch = patches.batch(0, iteration)
        assert torch.equal(batch.image, patches.batch(0, iteration).image)
        changed += not torch.equal(batch.image[0, 2:], as_masks(batch.target[0], labels=2))
    assert changed


def test_a_map_that_was_cut_off_names_its_case(case, tmp_path):
    np.save(tmp_path / "map.npy", np.zeros(case.classes.shape, np.int8))
    cut = replace(case, previous=np.load(tmp_path / "map.npy", mmap_mode="r"))
    with (tmp_path / "map.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(TrainingError, match="case a: "):
        source(cut).batch(0, 0)
