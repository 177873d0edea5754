import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.augmentation.policy import Augmentation
from autoseg.augmentation.spatial import Placing
from autoseg.data.labels import Label, LabelScheme
from autoseg.errors import TrainingError, UnknownNameError
from autoseg.planning.mirroring import Exchange
from autoseg.planning.plan import TrainingSettings
from autoseg.preprocessing.case import prepare
from autoseg.preprocessing.store import open_case, save_case
from autoseg.training.distributed import Ranks
from autoseg.training.loader import prefetch
from autoseg.training.patches import PatchDraw, PatchSource, exchanged
from tests.preprocessing.making import LABELS, configuration, image, plan

IGNORING = LabelScheme(labels=(Label(name="background", value=0), Label(name="organ", value=1)), ignore=9)


@pytest.fixture
def stored(tmp_path):
    """A function that stores cases of given voxels and classes and opens them."""

    def store(*pairs, labels=LABELS):
        cases = []
        for number, (voxels, classes) in enumerate(pairs):
            config = configuration(channels=len(voxels))
            prepared = prepare(image(voxels), plan(config), config, classes=classes)
            save_case(tmp_path, f"case{number}", prepared, labels=labels, made_from="x")
            cases.append(open_case(tmp_path, f"case{number}"))
        return cases

    return store


def random_case(shape=(12, 14, 16), channels=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(channels, *shape)) + 5, rng.integers(0, 3, shape)


def source(cases, *, patch=(8, 8, 8), batch=2, augment=True, labels=LABELS, use_mask=False, share=None, **training):
    config = configuration(
        spacing_mm=(1.0,) * len(patch), patch_size=patch, batch_size=batch, channels=len(cases[0].image), use_mask=use_mask
    )
    settings = TrainingSettings(**training)
    return PatchSource(cases, configuration=config, training=settings, labels=labels, augment=augment, share=share)


def same(first, second):
    return (
        torch.equal(first.image, second.image)
        and torch.equal(first.target, second.target)
        and first.case_ids == second.case_ids
    )


def test_a_batch_has_the_shapes_and_types_that_training_expects(stored):
    batch = source(stored(random_case()), batch=3).batch(0, 0)
    assert batch.image.shape == (3, 2, 8, 8, 8)
    assert batch.image.dtype == torch.float32
    assert batch.target.shape == (3, 8, 8, 8)
    assert batch.target.dtype == torch.int64
    assert batch.case_ids == ("case0",) * 3


def test_two_dimensional_configurations_take_slices(stored):
    (case,) = cases = stored(random_case())
    batch = source(cases, patch=(14, 16), augment=False, batch=5).batch(0, 0)
    assert batch.image.shape == (5, 2, 14, 16)
    assert batch.target.shape == (5, 14, 16)
    for picture in batch.image:
        assert any(np.array_equal(picture, case.image[:, z]) for z in range(12))


def test_batches_depend_on_nothing_but_seed_epoch_and_iteration(stored):
    cases = stored(random_case(), random_case(seed=1))
    first, second = source(cases), source(cases)
    first.batch(5, 5)
    assert same(first.batch(1, 2), second.batch(1, 2))
    for other in (source(cases, seed=1).batch(1, 2), first.batch(1, 3), first.batch(2, 2)):
        assert not same(first.batch(1, 2), other)


def test_training_and_validation_draw_different_patches(stored):
    cases = stored(random_case((30, 30, 30)))
    training, validation = source(cases, augmentation="none"), source(cases, augment=False)
    assert [training.draw(0, i, index=0) for i in range(5)] != [validation.draw(0, i, index=0) for i in range(5)]


@pytest.mark.parametrize("workers", [1, 2])
def test_prefetching_gives_the_same_batches_in_order(stored, workers):
    patches = source(stored(random_case()))
    found = [batch for batch, _ in prefetch(patches, epoch=3, iterations=6, ahead=3, workers=workers)]
    assert len(found) == 6
    assert all(same(batch, patches.batch(3, iteration)) for iteration, batch in enumerate(found))


def test_a_patch_without_augmentation_is_cut_from_its_case(stored):
    (case,) = cases = stored(random_case())
    patches = source(cases, augment=False, batch=1)
    z, y, x = patches.draw(0, 7, index=0).corner
    batch = patches.batch(0, 7)
    np.testing.assert_array_equal(batch.image[0], case.image[:, z : z + 8, y : y + 8, x : x + 8])
    np.testing.assert_array_equal(batch.target[0], case.classes[z : z + 8, y : y + 8, x : x + 8])


def test_a_drawn_patch_can_be_made_again(stored):
    patches = source(stored(random_case()), batch=1)
    for iteration in range(10):
        voxels, target = torch.empty(2, 8, 8, 8), torch.empty(8, 8, 8, dtype=torch.int64)
        patches.make(patches.draw(0, iteration, index=0), image=voxels, target=target)
        batch = patches.batch(0, iteration)
        assert torch.equal(voxels, batch.image[0])
        assert torch.equal(target, batch.target[0])


@pytest.mark.parametrize(("batch", "forced"), [(2, 1), (5, 2), (9, 3), (12, 4), (1, 0)])
def test_the_last_third_of_each_batch_shows_foreground(stored, batch, forced):
    classes = np.zeros((40, 4, 4), int)
    classes[20, 2, 2] = 1
    patches = source(stored((np.ones((1, 40, 4, 4)), classes)), patch=(3, 4, 4), batch=batch, augment=False)
    shown = [patches.batch(0, i).target.flatten(1).any(1) for i in range(30)]
    assert all(batch_shown[batch - forced :].all() for batch_shown in shown)
    assert not all(batch_shown[: batch - forced].all() for batch_shown in shown)


def test_each_class_of_a_case_is_centred_on_equally_often(stored):
    classes = np.zeros((30, 4, 4), int)
    classes[2:20] = 1
    classes[27, 1, 1] = 2
    patches = source(
        stored((np.ones((1, 30, 4, 4)), classes)), patch=(1, 1, 1), batch=1, augment=False, foreground_share=1.0
    )
    found = [int(patches.batch(0, i).target) for i in range(300)]
    assert set(found) == {1, 2}
    assert 110 < found.count(2) < 190


def test_a_patch_at_the_border_is_moved_inside(stored):
    classes = np.zeros((10, 10, 10), int)
    classes[0, 9, 5] = 1
    patches = source(stored((np.ones((1, 10, 10, 10)), classes)), patch=(4, 4, 4), augment=False, foreground_share=1.0)
    assert patches.draw(0, 0, index=0).corner == (0, 6, 3)


def test_other_patches_lie_anywhere_inside(stored):
    patches = source(stored(random_case((6, 8, 8))), patch=(4, 8, 8), augment=False, foreground_share=0.0)
    assert {patches.draw(0, i, index=0).corner for i in range(60)} == {(0, 0, 0), (1, 0, 0), (2, 0, 0)}


def test_a_case_smaller_than_the_patch_lies_in_its_middle(stored):
    voxels, classes = np.ones((1, 3, 8, 8)), np.ones((3, 8, 8), int)
    batch = source(stored((voxels, classes)), patch=(6, 8, 8), augment=False).batch(0, 0)
    assert batch.image[0, 0, :, 0, 0].tolist() == [0, 1, 1, 1, 0, 0]
    assert batch.target[0, :, 0, 0].tolist() == [0, 1, 1, 1, 0, 0]


def test_outside_of_the_body_becomes_background(stored):
    voxels = np.zeros((1, 8, 8, 8))
    voxels[:, 0, 0, 0] = voxels[:, 7, 7, 7] = 1
    (case,) = cases = stored((voxels, np.zeros((8, 8, 8), int)))
    assert case.classes.min() == -1
    assert source(cases).batch(0, 0).target.unique().tolist() == [0]


def test_where_normalisation_used_a_mask_the_outside_is_zero_again(stored):
    voxels = np.zeros((2, 8, 8, 8))
    voxels[:, 0, 0, 0] = voxels[:, 7, 7, 7] = 1
    voxels[:, :2] = 3
    cases = stored((voxels, np.zeros((8, 8, 8), int)))

    def outside(**options):
        patches = source(cases, batch=1, **options)
        noisy = [i for i in range(80) if any(type(s).__name__ == "Noise" for s in _steps(patches, i))]
        plain = [i for i in noisy if patches.draw(0, i, index=0).augmentation.placing.is_grid_aligned]
        return [float((patches.batch(0, i).image[0] != 0).float().mean()) for i in plain]

    assert outside(use_mask=False)
    assert all(share > 0.99 for share in outside(use_mask=False))
    assert all(share < 0.3 for share in outside(use_mask=True))


def _steps(patches, iteration):
    return patches.draw(0, iteration, index=0).augmentation.steps


def test_ignored_voxels_keep_their_class_and_patches_centre_on_annotated_ones(stored):
    classes = np.full((20, 4, 4), 2)
    classes[15] = 0
    cases = stored((np.ones((1, 20, 4, 4)), classes), labels=IGNORING)
    patches = source(cases, patch=(3, 4, 4), augment=False, labels=IGNORING, foreground_share=0.0)
    for iteration in range(10):
        assert patches.batch(0, iteration).target[0, :, 0, 0].tolist() == [2, 0, 2]


def test_a_case_without_foreground_gives_patches_all_the_same(stored):
    batch = source(stored((np.ones((1, 9, 9, 9)), np.zeros((9, 9, 9), int))), foreground_share=1.0).batch(0, 0)
    assert not batch.target.any()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_no_class_appears_that_the_cases_do_not_have(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("cases")
    voxels, classes = random_case()
    config = configuration(channels=2)
    prepared = prepare(image(voxels), plan(config), config, classes=np.where(classes == 1, 0, classes))
    save_case(folder, "a", prepared, labels=LABELS, made_from="x")
    batch = source([open_case(folder, "a")], seed=seed, patch=(14, 14, 14)).batch(0, 0)
    assert set(batch.target.unique().tolist()) <= {0, 2}
    assert torch.isfinite(batch.image).all()


def test_only_axes_that_may_be_mirrored_are(stored):
    patches = source(stored(random_case()), mirror_axes=(2,))
    placings = [patches.draw(0, i, index=0).augmentation.placing for i in range(40)]
    assert {placing.mirrored for placing in placings} == {(), (2,)}


def test_the_policy_none_leaves_patches_as_they_are(stored):
    patches = source(stored(random_case()), augmentation="none")
    assert all(patches.draw(0, i, index=0).augmentation.placing == Placing() for i in range(20))


def test_a_batch_of_one_shows_foreground_as_often_as_the_share_says(stored):
    classes = np.zeros((1, 40, 40), int)
    classes[0, 3, 5] = 1
    cases = stored((np.ones((1, 1, 40, 40)), classes))
    patches = source(cases, patch=(1, 4, 4), batch=1, augment=False, foreground_share=0.33)
    shown = [bool((patches.batch(0, iteration).target > 0).any()) for iteration in range(300)]
    assert 0.25 < np.mean(shown) < 0.43  # by chance it would be one patch in a hundred


def test_an_unknown_policy_is_refused_with_the_nearest_name(stored):
    cases = stored(random_case())
    with pytest.raises(UnknownNameError, match="Did you mean 'nnunet'"):
        source(cases, augmentation="nunet")


def test_no_cases_are_refused():
    with pytest.raises(TrainingError, match="no cases"):
        PatchSource([], configuration=configuration(), training=TrainingSettings(), labels=LABELS, augment=True)


def test_a_store_that_was_cut_off_names_its_case(stored, tmp_path):
    cases = stored(random_case())
    path = tmp_path / "cases" / "case0.image.npy"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(TrainingError, match=r"case case0: .*autoseg_preprocess"):
        list(prefetch(source(cases), epoch=0, iterations=4))


def test_closing_the_iterator_early_ends_its_threads(stored):
    batches = prefetch(source(stored(random_case())), epoch=0, iterations=1000, ahead=4)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("autoseg-patches")]


def test_the_seconds_of_waiting_are_told(stored):
    patches = source(stored(random_case()))
    assert all(0 <= waited < 5 for _, waited in prefetch(patches, epoch=0, iterations=3))


PAIRED = {"mirror_pairs": (("edema", "core"),), "paired_axis": 2}


def mirrored_once(patches, axis):
    """What a patch of the first case becomes that is mirrored along one axis."""
    image, target = torch.empty(1 + patches._previous_labels, 1, 2, 4), torch.empty(1, 2, 4, dtype=torch.int64)
    drawn = PatchDraw(case=0, corner=(0, 0, 0), augmentation=Augmentation(placing=Placing(mirrored=(axis,))))
    patches.make(drawn, image=image, target=target)
    return image, target


def test_mirroring_from_left_to_right_exchanges_paired_labels_and_what_a_first_stage_said_of_them(stored):
    classes = np.array([[[1, 1, 0, 2], [0, 1, 2, 2]]])
    (case,) = stored((np.arange(8.0).reshape(1, 1, 2, 4), classes))
    (case,) = (replace(case, previous=np.array([[[1, 0, 0, 0], [0, 0, 0, 2]]], dtype=np.int16)),)
    patches = source([case], patch=(1, 2, 4), augment=False, **PAIRED)
    image, target = mirrored_once(patches, 2)
    assert target.tolist() == [[[1, 0, 2, 2], [1, 1, 2, 0]]]
    # Class 1 in the first corner is class 2 in the second one now, and the other way round.
    assert image[1].tolist() == [[[0, 0, 0, 0], [1, 0, 0, 0]]]
    assert image[2].tolist() == [[[0, 0, 0, 1], [0, 0, 0, 0]]]
    up, upside = mirrored_once(patches, 1)
    assert upside.tolist() == [[[0, 1, 2, 2], [1, 1, 0, 2]]]
    assert up[1].tolist() == [[[0, 0, 0, 0], [1, 0, 0, 0]]]


def test_ignored_voxels_and_those_outside_are_not_exchanged():
    exchange = Exchange(axis=2, classes=(0, 2, 1), outputs=(0, 2, 1))
    classes = torch.tensor([-1, 0, 1, 2, 3], dtype=torch.int16)
    assert exchanged(classes, exchange).tolist() == [-1, 0, 2, 1, 3]
    assert exchanged(classes, None) is classes


@pytest.mark.parametrize("ranks", [2, 3, 5])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_shares_of_several_processes_make_up_the_batch_of_one(stored, ranks, workers):
    cases = stored(random_case(), random_case(seed=1))
    whole = [source(cases, batch=5, augmentation="brats").batch(1, iteration) for iteration in range(3)]
    parts = []
    for rank in range(ranks):
        share = Ranks(rank=rank, size=ranks).share(5)
        own = source(cases, batch=5, augmentation="brats", share=share)
        parts.append([batch for batch, _ in prefetch(own, epoch=1, iterations=3, ahead=2, workers=workers)])
    for iteration, batch in enumerate(whole):
        found = [part[iteration] for part in parts]
        assert torch.equal(torch.cat([one.image for one in found]), batch.image)
        assert torch.equal(torch.cat([one.target for one in found]), batch.target)
        assert all(one.case_ids == batch.case_ids for one in found)


def test_dropped_channels_are_constant_in_training_and_complete_in_validation(stored):
    cases = stored(random_case(channels=3))
    dropping = source(cases, batch=40, drop_channel=0.4, augmentation="none")
    image = dropping.batch(0, 0).image
    is_absent = (image == 0).flatten(2).all(dim=2)
    assert 0.2 < is_absent.float().mean() < 0.6
    assert not is_absent.all(dim=1).any()
    complete = source(cases, batch=40, augmentation="none").batch(0, 0).image
    assert torch.equal(image[~is_absent], complete[~is_absent])
    validation = source(cases, batch=40, drop_channel=0.4, augment=False).batch(0, 0).image
    assert not (validation == 0).flatten(2).all(dim=2).any()
