"""Deciding tile by tile gives the very label map that interpolating every score gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoseg.data.image import Shape
from autoseg.data.labels import Label, LabelScheme
from autoseg.prediction.deciding import decide
from autoseg.prediction.refining import axis_step, held, refined_slabs
from autoseg.prediction.tiles import EDGE, decided_slabs, thick_enough
from tests.prediction.test_export import NESTED

MANY = LabelScheme(labels=tuple(Label(name=str(value), value=value) for value in range(12)))


def organs(channels: int, shape: Shape, *, seed: int, offset: float = 0.0) -> Tensor:
    """Scores with large areas of one class and some of several, at once positive and negative."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, 3, 3, 3, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0]
    return 3 * smooth + 0.05 * torch.randn(smooth.shape, generator=generator) + offset


@given(
    shape=st.tuples(*[st.integers(1, 3 * EDGE)] * 3).filter(lambda shape: np.prod(shape) < 40_000),
    orders=st.sampled_from([(1, 1, 1), (0, 1, 1), (1, 1, 0)]),
    depth=st.integers(1, 20),
    field=st.tuples(st.integers(0, 99), st.sampled_from([0.0, -40.0, 1000.0])),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("labels", [MANY, NESTED], ids=["labels", "regions"])
def test_no_voxel_differs(
    labels: LabelScheme, shape: Shape, orders: tuple[int, int, int], depth: int, field: tuple[int, float]
) -> None:
    seed, offset = field
    logits = organs(labels.output_channels, (7, 19, 23), seed=seed, offset=offset)
    scores = held(logits, orders)
    whole = [decide(slab, labels, threshold=0.0) for slab in refined_slabs(scores, shape, depth=depth)]
    tiled = list(decided_slabs(scores, shape, labels, depth=depth))
    np.testing.assert_array_equal(np.concatenate(tiled), np.concatenate(whole))


def test_classes_that_are_nearly_equal_everywhere_are_all_interpolated() -> None:
    logits = 5.0 + 1e-6 * organs(12, (6, 20, 20), seed=3)
    scores = held(logits, (1, 1, 1))
    (whole,) = [decide(slab, MANY, threshold=0.0) for slab in refined_slabs(scores, (6, 40, 40), depth=6)]
    (tiled,) = decided_slabs(scores, (6, 40, 40), MANY, depth=6)
    assert len(np.unique(whole)) > 5
    np.testing.assert_array_equal(tiled, whole)


def test_a_part_of_a_step_gives_the_same_voxels() -> None:
    values = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    for order in (0, 1, 3):
        step = axis_step(9, 25, order, slice(0, 25))
        part = step.part(6, 17)
        expected = step.applied(values, dim=1)[:, 6:17]
        torch.testing.assert_close(part.applied(values[:, part.source], dim=1), expected, rtol=0, atol=1e-6)
        assert part.size == 11
    still = axis_step(9, 9, 1, slice(2, 8)).part(1, 4)
    assert (still.source, still.size) == (slice(1, 4), 3)


def test_slabs_are_thick_where_a_slice_is_small_and_thin_where_it_is_large() -> None:
    small_scores, large_scores = (held(torch.empty(12, 4, edge, edge), (1, 1, 1)) for edge in (20, 2000))
    for scores, expected in ((small_scores, 8), (large_scores, 1)):
        shape = (8, 2 * scores.shape[1], 2 * scores.shape[2])
        box = (slice(0, shape[1]), slice(0, shape[2]))
        assert thick_enough(scores, shape, MANY, box=box) == expected
