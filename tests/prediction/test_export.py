from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from skimage.transform import resize

from autoseg.data.image import Shape, Spacing
from autoseg.data.labels import Label, LabelScheme, Region, train_on_regions
from autoseg.planning.plan import Resampling
from autoseg.prediction.agreeing import shares
from autoseg.prediction.beside import Beside
from autoseg.prediction.deciding import decide
from autoseg.prediction.export import export
from autoseg.prediction.keeping import Keeper
from autoseg.prediction.maps import decoded
from autoseg.prediction.refining import Scores, held, interpolation_orders, refined_slabs
from autoseg.prediction.tiles import decided_slabs
from autoseg.preprocessing.case import Placement

FOUR = LabelScheme(labels=tuple(Label(name=f"label {v}", value=v) for v in (0, 1, 2, 4)))
NESTED = train_on_regions(
    FOUR.model_copy(
        update={
            "regions": (
                Region(name="WT", values=(1, 2, 4)),
                Region(name="TC", values=(1, 4)),
                Region(name="ET", values=(4,)),
            )
        }
    )
)


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def in_place(
    shape: Shape,
    *,
    original: Shape | None = None,
    corner: Shape = (0, 0, 0),
    network_shape: Shape | None = None,
    spacing: Spacing = (1.0, 1.0, 1.0),
    network_spacing: Spacing = (1.0, 1.0, 1.0),
) -> Placement:
    z, y, x = ((start, start + size) for start, size in zip(corner, shape, strict=True))
    return Placement(
        original_shape=original or shape,
        orientation=None,
        turned_to=None,
        transpose=(0, 1, 2),
        crop=(z, y, x),
        spacing_mm=spacing,
        network_shape=network_shape or shape,
        network_spacing_mm=network_spacing,
    )


def exported(logits: NDArray[np.float32], labels: LabelScheme, placement: Placement) -> NDArray[np.integer]:
    orders = interpolation_orders(Resampling(), placement)
    return export([held(torch.from_numpy(logits), orders)], labels=labels, placement=placement)


def with_probabilities(
    members: Sequence[Scores], labels: LabelScheme, placement: Placement, weights: Sequence[float] | None = None
) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
    """The label map and the probabilities on the grid of the file."""
    counted = shares(weights, len(members))
    keeper = Keeper(Beside(probabilities=True), labels, placement, shares=counted, voices=[0] * len(members))
    found = export(members, labels=labels, placement=placement, shares=counted, keeper=keeper)
    assert keeper.maps.probabilities is not None
    return found, decoded(keeper.maps.probabilities)


@pytest.mark.parametrize("depth", [1, 4, 100])
@pytest.mark.parametrize("shape", [(13, 17, 11), (5, 4, 6), (9, 8, 20), (9, 17, 7)])
def test_refining_is_what_scikit_image_does_however_thick_the_slabs(shape: Shape, depth: int) -> None:
    logits = noise(2, 9, 8, 7)
    found = torch.cat(list(refined_slabs(held(torch.from_numpy(logits), (1, 1, 1)), shape, depth=depth)), dim=1)
    expected = [resize(channel, shape, order=1, mode="edge", anti_aliasing=False) for channel in logits]
    np.testing.assert_allclose(found.numpy(), np.stack(expected), atol=2e-6)


def test_a_cubic_spline_is_possible_along_any_axis() -> None:
    logits = noise(1, 9, 8, 7)
    found = torch.cat(list(refined_slabs(held(torch.from_numpy(logits), (3, 3, 3)), (12, 11, 5), depth=4)), dim=1)
    expected = resize(logits[0], (12, 11, 5), order=3, mode="edge", anti_aliasing=False, clip=False)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("coarse", "spacing"), [(0, (5.0, 1.0, 1.0)), (1, (1.0, 5.0, 1.0)), (2, (1.0, 1.0, 5.0))])
def test_a_coarse_axis_takes_the_nearest_slice_and_the_others_are_linear(coarse: int, spacing: Spacing) -> None:
    new_shape = (12, 11, 10)
    placement = in_place(new_shape, network_shape=(6, 7, 8), spacing=(1.0, 1.0, 1.0), network_spacing=spacing)
    logits = noise(1, 6, 7, 8)
    orders = interpolation_orders(Resampling(), placement)
    assert orders == tuple(0 if axis == coarse else 1 for axis in range(3))
    found = torch.cat(list(refined_slabs(held(torch.from_numpy(logits), orders), new_shape, depth=5)), dim=1)[0]
    slices = np.moveaxis(logits[0], coarse, 0)
    plane = tuple(size for axis, size in enumerate(new_shape) if axis != coarse)
    refined = np.stack([resize(one, plane, order=1, mode="edge", anti_aliasing=False) for one in slices])
    ratio = len(refined) / new_shape[coarse]
    positions = ratio * (np.arange(new_shape[coarse]) + 0.5) - 0.5
    nearest = map_coordinates(np.arange(len(refined), dtype=float), [positions], order=0, mode="nearest").astype(int)
    np.testing.assert_allclose(found.numpy(), np.moveaxis(refined[nearest], 0, coarse), atol=2e-6)


def test_the_highest_class_wins_and_its_value_on_disk_is_written() -> None:
    logits = noise(4, 5, 6, 7)
    expected = np.array([0, 1, 2, 4])[logits.argmax(axis=0)]
    np.testing.assert_array_equal(exported(logits, FOUR, in_place((5, 6, 7))), expected)


def test_the_lower_class_wins_a_tie() -> None:
    assert decide(torch.zeros(4, 1), FOUR, threshold=0.0).tolist() == [0]


def test_regions_are_painted_from_the_outside_in() -> None:
    # Columns: nothing, whole tumour, core, enhancing, and enhancing outside everything else.
    logits = np.array([[-1, 1, 1, 1, -1], [-1, -1, 1, 1, -1], [-1, -1, -1, 1, 1]], dtype=np.float32)
    found = exported(logits.reshape(3, 1, 1, 5), NESTED, in_place((1, 1, 5)))
    assert found.ravel().tolist() == [0, 2, 1, 4, 4]


@given(shape=st.tuples(*[st.integers(2, 7)] * 3), network_shape=st.tuples(*[st.integers(2, 7)] * 3), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_decision_is_made_after_refining_as_with_whole_arrays(shape: Shape, network_shape: Shape, seed: int) -> None:
    logits = noise(4, *network_shape, seed=seed)
    refined = np.stack([resize(c, shape, order=1, mode="edge", anti_aliasing=False) for c in logits])
    best = np.sort(refined, axis=0)
    clear = best[-1] - best[-2] > 1e-4
    found = exported(logits, FOUR, in_place(shape, network_shape=network_shape))
    expected = np.array([0, 1, 2, 4])[refined.argmax(axis=0)]
    np.testing.assert_array_equal(found[clear], expected[clear])


def test_outside_the_crop_lies_background_and_it_is_certain() -> None:
    placement = in_place((2, 2, 2), original=(4, 5, 6), corner=(1, 2, 3))
    logits = noise(4, 2, 2, 2) - np.array([9, 0, 0, 0], dtype=np.float32).reshape(4, 1, 1, 1)
    found, probabilities = with_probabilities([held(torch.from_numpy(logits), (1, 1, 1))], FOUR, placement)
    outside = np.ones((4, 5, 6), dtype=bool)
    outside[1:3, 2:4, 3:5] = False
    assert not found[outside].any()
    assert found[~outside].all()
    np.testing.assert_array_equal(probabilities[:, outside], np.eye(4)[:, [0]] * np.ones(outside.sum()))
    np.testing.assert_allclose(probabilities.astype(float).sum(axis=0), 1, atol=4e-5)
    softmax = torch.softmax(torch.from_numpy(logits), dim=0).numpy()
    np.testing.assert_allclose(probabilities[:, 1:3, 2:4, 3:5], softmax, atol=0.6 / 65535)


def test_several_members_decide_by_their_mean_probability() -> None:
    # Logits would be averaged to a tie at 0; the mean probabilities are (1 + 0.27) / 2 against (0 + 0.73) / 2.
    sure, doubtful = ([20.0, 0.0], [0.0, 1.0])
    two = LabelScheme(labels=(Label(name="background", value=0), Label(name="thing", value=7)))
    members = [held(torch.tensor(logits).reshape(2, 1, 1, 1), (1, 1, 1)) for logits in (sure, doubtful, doubtful)]
    placement = in_place((1, 1, 1))
    assert export(members[:2], labels=two, placement=placement).item() == 0
    found, probabilities = with_probabilities(members, two, placement)
    expected = (0 + 2 / (1 + np.exp(-1.0))) / 3
    assert probabilities[1].item() == pytest.approx(expected, abs=1e-5)
    assert found.item() == 0
    weighted, probabilities = with_probabilities(members[:2], two, placement, weights=(1, 3))
    assert probabilities[1].item() == pytest.approx((0 + 3 / (1 + np.exp(-1.0))) / 4, abs=1e-5)
    assert weighted.item() == 7


@given(order=st.permutations(range(4)), seed=st.integers(0, 99), doubtful=st.booleans())
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("labels", [FOUR, NESTED], ids=["labels", "regions"])
def test_the_order_of_members_changes_no_bit(labels: LabelScheme, order: list[int], seed: int, doubtful: bool) -> None:
    weights = np.random.default_rng(seed).uniform(0.1, 3, 4)
    scale = 1e-6 if doubtful else 3.0  # members that are nearly of two minds everywhere are where rounding would show
    logits = [scale * noise(labels.output_channels, 3, 3, 3, seed=seed + index) for index in range(4)]
    members = [held(torch.from_numpy(one), (1, 1, 1)) for one in logits]
    placement = in_place((4, 3, 3), network_shape=(3, 3, 3))
    first = with_probabilities(members, labels, placement, tuple(weights))
    second = with_probabilities([members[i] for i in order], labels, placement, tuple(weights[order]))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("labels", [FOUR, NESTED], ids=["labels", "regions"])
@pytest.mark.parametrize("orders", [(1, 1, 1), (0, 1, 1), (1, 1, 0)])
@pytest.mark.parametrize("shape", [(13, 17, 11), (9, 16, 7), (5, 4, 6)])
def test_what_all_neighbours_agree_on_is_what_interpolation_would_give(
    shape: Shape, orders: tuple[int, int, int], labels: LabelScheme
) -> None:
    coarse = torch.from_numpy(noise(1, labels.output_channels, 3, 3, 3, seed=sum(shape)))
    scores = held(torch.nn.functional.interpolate(coarse, size=(9, 8, 7), mode="trilinear")[0], orders)
    interpolated = [decide(slab, labels, threshold=0.0) for slab in refined_slabs(scores, shape, depth=4)]
    found = list(decided_slabs(scores, shape, labels, depth=4))
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(interpolated))
