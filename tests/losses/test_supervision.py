import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from autoseg.losses import coarser, supervision_weights
from tests.losses.test_table import THREE, loss_of


def test_supervision_weights_halve_and_leave_the_coarsest_out():
    assert supervision_weights(5) == pytest.approx((8 / 15, 4 / 15, 2 / 15, 1 / 15, 0))
    assert supervision_weights(1) == (1.0,)
    assert supervision_weights(2) == (1.0, 0.0)


def test_deep_supervision_is_the_weighted_sum_over_coarser_targets():
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(0, 3, (1, 8, 8), generator=generator)
    levels = [torch.randn(1, 3, edge, edge, generator=generator) for edge in (8, 4, 2)]
    single = loss_of("dice_ce", THREE)
    expected = 2 / 3 * single([levels[0]], target) + 1 / 3 * single([levels[1]], target[:, 1::2, 1::2])
    assert float(loss_of("dice_ce", THREE, levels=3)(levels, target)) == pytest.approx(float(expected), abs=1e-6)


@given(st.tuples(st.integers(1, 3), st.integers(1, 12)), st.tuples(st.integers(1, 3), st.integers(1, 9)))
def test_coarser_targets_equal_nearest_exact_interpolation(first, second):
    fine = (first[0] * first[1], second[0] * second[1] + 1)
    grid = (first[1], second[1])
    target = torch.arange(fine[0] * fine[1]).reshape(1, *fine)
    expected = F.interpolate(target[:, None].double(), size=grid, mode="nearest-exact")[:, 0].long()
    assert torch.equal(coarser(target, grid), expected)


def test_a_coarser_target_by_a_whole_ratio_shares_memory():
    target = torch.arange(64).reshape(1, 8, 8)
    assert coarser(target, (4, 2)).untyped_storage().data_ptr() == target.untyped_storage().data_ptr()
