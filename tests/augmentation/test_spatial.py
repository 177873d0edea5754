import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

from autoseg.augmentation.spatial import Patch, Placing, place, source_of
from autoseg.data.labels import OUTSIDE

SHAPE = (20, 22, 24)


def case(shape=SHAPE, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(channels, *shape)).astype(np.float32), rng.integers(0, 4, shape).astype(np.int8)


def make(image, classes, placing, *, corner, patch):
    """The patch, made from no more than the box it needs."""
    source = source_of(placing, corner=corner, patch=patch, shape=classes.shape)
    into = Patch(torch.full((len(image), *patch), math.nan), torch.full(tuple(patch), 77, dtype=torch.int8))
    inside = (slice(None), *source.box)
    place(
        torch.from_numpy(image[inside].copy()),
        torch.from_numpy(classes[source.box].copy()),
        placing,
        centre=source.centre,
        into=into,
    )
    return into.image.numpy(), into.classes.numpy()


def expected(image, classes, placing, *, corner, patch):
    """The same from scipy and the whole case."""
    matrix = np.array(placing.matrix)
    middle = np.array(corner) + (np.array(patch) - 1) / 2
    offset = middle - matrix @ ((np.array(patch) - 1) / 2)
    options = {"offset": offset, "output_shape": tuple(patch), "mode": "grid-constant"}
    return (
        np.stack([affine_transform(channel, matrix, order=1, cval=0, **options) for channel in image]),
        affine_transform(classes, matrix, order=0, cval=OUTSIDE, **options),
    )


def turned(angle):
    return Placing(angles=(angle, 0.0, 0.0), in_plane=True)


PLACINGS = [
    Placing(),
    Placing(mirrored=(0, 2)),
    Placing(scales=(1.3, 1.3, 1.3)),
    Placing(scales=(0.71, 0.9, 1.4), mirrored=(1,)),
    Placing(angles=(0.3, -0.2, 0.5)),
    Placing(angles=(0.3, -0.2, 0.5), scales=(0.8, 0.8, 0.8), mirrored=(0, 1, 2)),
    Placing(angles=(2.0, 0.0, 0.0), in_plane=True),
    Placing(angles=(2.0, 0.0, 0.0), scales=(1.0, 1.2, 1.2), mirrored=(0, 1), in_plane=True),
]


@pytest.mark.parametrize("placing", PLACINGS)
@pytest.mark.parametrize(
    ("corner", "patch"),
    [((5, 6, 7), (8, 8, 8)), ((0, 0, 0), (9, 6, 7)), ((12, 14, 16), (8, 8, 8)), ((-3, 4, -4), (26, 8, 32))],
)
def test_a_patch_is_what_scipy_makes_of_the_whole_case(placing, corner, patch):
    image, classes = case()
    found_image, found_classes = make(image, classes, placing, corner=corner, patch=patch)
    image_there, classes_there = expected(image, classes, placing, corner=corner, patch=patch)
    np.testing.assert_allclose(found_image, image_there, atol=2e-4)
    # Points exactly between two voxels may fall to either.
    assert (found_classes != classes_there).mean() < 0.02


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*[st.floats(-math.pi, math.pi)] * 3),
    st.tuples(*[st.floats(0.6, 1.6)] * 3),
    st.sets(st.integers(0, 2)),
    st.tuples(*[st.integers(-4, 14)] * 3),
)
def test_the_box_holds_all_that_the_patch_needs(angles, scales, mirrored, corner):
    image, classes = case()
    placing = Placing(angles=angles, scales=scales, mirrored=tuple(mirrored))
    found, _ = make(image, classes, placing, corner=corner, patch=(7, 8, 9))
    wanted, _ = expected(image, classes, placing, corner=corner, patch=(7, 8, 9))
    np.testing.assert_allclose(found, wanted, atol=5e-4)


@pytest.mark.parametrize("placing", [Placing(), Placing(mirrored=(0,)), Placing(mirrored=(0, 1, 2))])
def test_a_patch_that_is_not_bent_reads_just_its_own_voxels(placing):
    source = source_of(placing, corner=(3, 4, 5), patch=(6, 7, 8), shape=SHAPE)
    assert source.box == (slice(3, 9), slice(4, 11), slice(5, 13))


def test_a_patch_turned_in_its_plane_reads_just_its_own_slices():
    source = source_of(turned(0.5), corner=(3, 4, 5), patch=(2, 8, 8), shape=SHAPE)
    assert source.box[0] == slice(3, 5)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_mirroring_is_exact_and_undone_by_mirroring_again(axes):
    image, classes = case()
    plain, plain_classes = make(image, classes, Placing(), corner=(2, 3, 4), patch=(5, 6, 7))
    found, found_classes = make(image, classes, Placing(mirrored=axes), corner=(2, 3, 4), patch=(5, 6, 7))
    np.testing.assert_array_equal(np.flip(found, [axis + 1 for axis in axes]), plain)
    np.testing.assert_array_equal(np.flip(found_classes, axes), plain_classes)


def test_a_quarter_turn_about_z_is_exact():
    image, classes = case((1, 9, 9))
    found, found_classes = make(image, classes, turned(math.pi / 2), corner=(0, 0, 0), patch=(1, 9, 9))
    np.testing.assert_allclose(np.rot90(found, 1, (2, 3)), image, atol=1e-5)
    np.testing.assert_array_equal(np.rot90(found_classes, 1, (1, 2)), classes)


def test_a_scale_above_one_makes_objects_smaller():
    image, classes = np.zeros((1, 17, 17, 17), np.float32), np.zeros((17, 17, 17), np.int8)
    classes[4:13, 4:13, 4:13] = 1
    _, found = make(image, classes, Placing(scales=(1.5, 1.5, 1.5)), corner=(0, 0, 0), patch=(17, 17, 17))
    assert 0 < (found == 1).sum() < 9**3 / 2


@pytest.mark.parametrize("placing", PLACINGS)
def test_no_class_appears_that_was_not_there(placing):
    image, classes = case()
    classes = (classes * 3).astype(np.int8)
    _, found = make(image, classes, placing, corner=(-2, 5, 6), patch=(12, 12, 12))
    assert set(np.unique(found)) <= {OUTSIDE, 0, 3, 6, 9}


def test_beyond_the_case_the_image_is_zero_and_the_class_outside():
    image, classes = np.ones((1, 2, 2, 2), np.float32), np.ones((2, 2, 2), np.int8)
    found, found_classes = make(image, classes, Placing(), corner=(-1, 0, 0), patch=(4, 2, 2))
    assert found[0, :, 0, 0].tolist() == [0, 1, 1, 0]
    assert found_classes[:, 0, 0].tolist() == [OUTSIDE, 1, 1, OUTSIDE]
