import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.planning.presets import PRESETS
from autoseg.planning.topology import cost, topology

SIZES = st.lists(st.integers(8, 600), min_size=2, max_size=3)
MILLIMETRES = st.floats(0.2, 12, allow_nan=False)


def test_an_isotropic_cube_of_128_is_halved_five_times():
    found = topology((1, 1, 1), (128, 128, 128))
    assert found.strides == ((1, 1, 1),) + ((2, 2, 2),) * 5
    assert found.kernels == ((3, 3, 3),) * 6
    assert found.divisor == (32, 32, 32)


def test_a_coarse_axis_is_halved_late_and_convolved_late():
    found = topology((3.6, 0.625, 0.625), (20, 320, 256))
    # Spacing 3.6 is less than twice the others' only after two halvings of the plane.
    assert found.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
    assert found.kernels[:2] == ((1, 3, 3), (1, 3, 3))
    assert set(found.kernels[2:]) == {(3, 3, 3)}


def test_the_patch_grows_to_a_multiple_of_the_strides():
    assert topology((1, 1), (50, 35)).patch_size == (56, 40)


def test_a_single_axis_is_halved_only_while_it_has_twelve_voxels():
    assert topology((1, 1), (7, 11)).stages == 1
    assert topology((1, 1), (7, 12)).stages == 2


def test_the_cost_of_a_small_plain_network_is_the_sum_of_its_feature_maps():
    design = topology((1, 1), (8, 8))
    # Stage 0 has 32 maps of 64, stage 1 has 64 maps of 16: two convolutions each; the decoder upsamples and convolves
    # twice at stage 0; two outputs of 64.
    expected = 2 * 32 * 64 + 2 * 64 * 16 + 3 * 32 * 64 + 2 * 64
    assert cost(design, PRESETS["nnunet"], outputs=2) == expected


def test_the_cost_of_a_small_residual_network_counts_stem_blocks_and_shortcuts():
    design = topology((1, 1), (8, 8))
    # Stem; one block of two convolutions at stage 0, three at stage 1 with one shortcut; upsampling and one convolution.
    expected = 32 * 64 + 2 * 32 * 64 + (6 + 1) * 64 * 16 + 2 * 32 * 64 + 2 * 64
    assert cost(design, PRESETS["resenc_m"], outputs=2) == expected


@pytest.mark.parametrize(("preset", "expected"), [("nnunet", 454_893_568), ("resenc_m", 559_517_696)])
def test_the_cost_of_a_cube_of_128_with_four_classes_is_the_published_one(preset, expected):
    assert cost(topology((1, 1, 1), (128,) * 3), PRESETS[preset], outputs=4) == expected


@given(sizes=SIZES, data=st.data())
def test_a_patch_is_divisible_and_no_axis_shrinks_below_the_smallest_feature_map(sizes, data):
    spacing = [data.draw(MILLIMETRES) for _ in sizes]
    found = topology(spacing, sizes)
    for n, asked, divisor in zip(found.patch_size, sizes, found.divisor, strict=True):
        assert n % divisor == 0
        assert asked <= n < asked + divisor
        assert n // divisor >= 4 or divisor == 1
    assert len(found.kernels) == found.stages
    assert math.prod(found.strides[0]) == 1
