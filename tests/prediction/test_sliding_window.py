from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from autoseg.prediction.passes import Exchanged, Sweep
from autoseg.prediction.sliding_window import finished_slabs, network_axes, predict_logits
from autoseg.prediction.windows import enlarged, importance, margins, mirrorings, views, window_starts, windows
from autoseg.training.device import Precision


class Counting(nn.Module):
    """Passes its input on and counts the samples it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, image: Tensor) -> Tensor:
        self.seen += len(image)
        return image


def small_network(seed: int, *, dimensions: int = 3, channels: int = 2, outputs: int = 3) -> nn.Module:
    convolution = nn.Conv3d if dimensions == 3 else nn.Conv2d
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(convolution(channels, 4, 3, padding=1), nn.Tanh(), convolution(4, outputs, 1)).eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def predicted(networks: list[nn.Module], image: Tensor, *, mirror_axes: tuple[int, ...] = (), **settings: Any) -> Tensor:
    """All logits of an image; `mirror_axes` are axes of the image."""
    axes = network_axes(mirror_axes, len(settings["patch_size"]))
    return predict_logits(networks, image, Sweep(mirrorings=tuple(mirrorings(axes)), **settings))


def naive(networks: list[nn.Module], image: Tensor, patch: tuple[int, ...], step: float, axes: tuple[int, ...]) -> Tensor:
    """The same definition with a weight volume, one pass at a time and in double precision."""
    starts = [
        [round(i * (n - p) / max(1, count - 1)) for i in range(count)]
        for n, p in zip(image.shape[1:], patch, strict=True)
        for count in [int(np.ceil((n - p) / (p * step))) + 1]
    ]
    impulse = np.zeros(patch)
    impulse[tuple(edge // 2 for edge in patch)] = 1
    weight = torch.from_numpy(gaussian_filter(impulse, [edge / 8 for edge in patch], mode="constant"))
    flips = [[a + 2 for a, on in zip(axes, chosen, strict=True) if on] for chosen in product([0, 1], repeat=len(axes))]
    total, weights = 0, torch.zeros(image.shape[1:], dtype=torch.float64)
    for start in product(*starts):
        place = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
        passes = [
            network(image[(slice(None), *place)][None].flip(flip)).flip(flip)[0].double()
            for network in networks
            for flip in flips
        ]
        logits = sum(passes) / len(passes)
        if isinstance(total, int):
            total = torch.zeros(len(logits), *image.shape[1:], dtype=torch.float64)
        total[(slice(None), *place)] += logits * weight
        weights[place] += weight
    return total / weights


@pytest.mark.parametrize(
    ("size", "patch", "step", "starts"),
    [
        (10, 10, 0.5, (0,)),
        (4, 10, 0.5, (0,)),
        (15, 10, 0.5, (0, 5)),
        (16, 10, 0.5, (0, 3, 6)),
        (138, 128, 0.5, (0, 10)),
        (240, 128, 0.5, (0, 56, 112)),
        (21, 10, 1.0, (0, 6, 11)),  # 5.5 is rounded to the even 6
    ],
)
def test_windows_along_an_axis_start_where_worked_out_by_hand(
    size: int, patch: int, step: float, starts: tuple[int]
) -> None:
    assert window_starts(size, patch, step=step) == starts


@given(size=st.integers(1, 300), patch=st.integers(1, 128), step=st.floats(0.1, 1.0))
def test_windows_cover_an_axis_without_leaving_it_and_overlap_as_asked(size: int, patch: int, step: float) -> None:
    starts = window_starts(size, patch, step=step)
    assert starts[0] == 0
    assert starts[-1] + patch == max(size, patch)
    assert all(0 < after - before <= patch * step + 1 for before, after in pairwise(starts))


@pytest.mark.parametrize("patch", [1, 2, 5, 16, 21, 64])
def test_importance_is_a_blurred_impulse(patch: int) -> None:
    impulse = np.zeros(patch)
    impulse[patch // 2] = 1
    blurred = gaussian_filter(impulse, patch / 8, mode="constant")
    np.testing.assert_allclose(importance(patch), blurred / blurred.max(), rtol=1e-10)


@given(shape=st.tuples(*[st.integers(1, 20)] * 3), patch=st.tuples(*[st.integers(1, 20)] * 3))
def test_margins_fill_up_to_the_patch_with_the_odd_voxel_at_the_end(shape: tuple[int, ...], patch: tuple[int, ...]) -> None:
    for (before, after), size, edge in zip(margins(shape, patch), shape, patch, strict=True):
        assert before + size + after == max(size, edge)
        assert after - before in (0, 1)


def test_mirrorings_are_all_subsets_and_begin_with_none() -> None:
    assert mirrorings(()) == [()]
    assert mirrorings((0, 2)) == [(), (0,), (2,), (0, 2)]


def test_a_flat_patch_goes_through_every_slice() -> None:
    assert windows((2, 4, 4), (4, 4), step=0.5) == [(0, slice(0, 4), slice(0, 4)), (1, slice(0, 4), slice(0, 4))]


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("axes", [(), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("step", [0.5, 0.8])
def test_it_agrees_with_a_naive_implementation(batch_size: int, axes: tuple[int, ...], step: float) -> None:
    networks, image = [small_network(1), small_network(2)], noise(2, 11, 9, 14)
    found = predicted(
        networks,
        image,
        patch_size=(6, 8, 5),
        output_channels=3,
        mirror_axes=axes,
        batch_size=batch_size,
        step=step,
    )
    with torch.no_grad():
        expected = naive(networks, image, (6, 8, 5), step, axes)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_flat_network_gives_each_slice_what_it_gives_that_slice_alone() -> None:
    network, image = small_network(3, dimensions=2), noise(2, 4, 9, 7)
    settings_of_both = {"patch_size": (6, 4), "output_channels": 3, "mirror_axes": (0, 1, 2)}
    whole = predicted([network], image, batch_size=5, **settings_of_both)
    alone = [predicted([network], image[:, z : z + 1], **settings_of_both) for z in range(4)]
    torch.testing.assert_close(whole, torch.cat(alone, dim=1), atol=1e-6, rtol=1e-6)


@given(shape=st.tuples(*[st.integers(1, 12)] * 3), patch=st.tuples(*[st.integers(2, 8)] * 3), step=st.floats(0.2, 1.0))
@settings(max_examples=25, deadline=None)
def test_the_identity_network_returns_the_image(shape: tuple[int, ...], patch: tuple[int, ...], step: float) -> None:
    image = noise(1, *shape)
    found = predicted([nn.Identity()], image, patch_size=patch, output_channels=1, step=step, mirror_axes=(0, 1, 2))
    torch.testing.assert_close(found, image, atol=1e-5, rtol=1e-5)


def test_a_patch_larger_than_the_image_sees_it_centred_in_zeros() -> None:
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            seen.append(image.clone())
            return image

    predicted([Watching()], torch.ones(1, 2, 3, 4), patch_size=(4, 4, 4), output_channels=1)
    expected = torch.zeros(1, 1, 4, 4, 4)
    expected[0, 0, 1:3, 0:3] = 1
    torch.testing.assert_close(seen[0], expected)


def test_mirroring_all_axes_makes_the_prediction_of_a_mirrored_image_the_mirrored_prediction() -> None:
    # Even patches and sizes, so that the windows and their weights mirror onto each other up to the Gaussian's half voxel.
    network, image = small_network(4), noise(2, 8, 8, 8)
    chosen = {"patch_size": (8, 8, 8), "output_channels": 3, "mirror_axes": (0, 1, 2)}
    straight = predicted([network], image, **chosen)
    mirrored = predicted([network], image.flip([1, 3]), **chosen)
    torch.testing.assert_close(mirrored.flip([1, 3]), straight, atol=1e-5, rtol=1e-5)
    once = predicted([network], image.flip([1, 3]), patch_size=(8, 8, 8), output_channels=3)
    assert not torch.allclose(once.flip([1, 3]), straight, atol=1e-2)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_windows_of_zeros_cost_one_pass_and_change_nothing(batch_size: int) -> None:
    image = torch.zeros(2, 8, 8, 32)
    image[..., :6] = noise(2, 8, 8, 6)
    network = small_network(5)
    counting = Counting()
    chosen = {"patch_size": (8, 8, 8), "output_channels": 3, "mirror_axes": (0,), "batch_size": batch_size}
    found = predicted([nn.Sequential(counting, network)], image, **chosen)
    # 7 windows start at 0, 4, ... 24; those at 0 and 4 hold something, five are blank; each is seen twice.
    assert counting.seen == (2 + 1) * 2
    with torch.no_grad():
        expected = naive([network], image, (8, 8, 8), 0.5, (0,))
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_half_precision_stays_near_full_precision_and_sums_in_float32() -> None:
    network, image = small_network(6), noise(2, 10, 10, 10)
    chosen = {"patch_size": (8, 8, 8), "output_channels": 3}
    full = predicted([network], image, **chosen)
    half = predicted([network], image, precision=Precision("bf16"), **chosen)
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    torch.testing.assert_close(half, full, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("patch", [(6, 8, 5), (6, 4)])
def test_parts_of_the_slices_done_one_by_one_are_bit_for_bit_those_of_whole_slices(
    precision: Any, patch: tuple[int, ...]
) -> None:
    network, image = small_network(7, dimensions=len(patch)), noise(2, 15, 13, 11)
    sweep = Sweep(patch, 3, mirrorings=((), (0,)), precision=Precision(precision))
    whole = predict_logits([network], image, sweep)
    for rows, columns in product([slice(0, 4), slice(4, 13)], [slice(0, 7), slice(7, 8), slice(8, 11)]):
        part = torch.cat(list(finished_slabs([network], image, sweep, box=(rows, columns))), dim=1)
        assert torch.equal(part, whole[:, :, rows, columns])


def test_windows_outside_the_wanted_part_are_not_computed() -> None:
    counting, image = Counting(), noise(1, 8, 8, 32)
    sweep = Sweep((8, 8, 8), 1)
    list(finished_slabs([counting], image, sweep, box=(slice(0, 8), slice(0, 4))))
    assert counting.seen == 1  # windows start at 0, 4, ... 24; only the first reaches columns 0 to 3


def test_slices_are_handed_on_as_soon_as_no_window_reaches_them_any_more() -> None:
    counting, image = Counting(), noise(1, 32, 8, 8)
    slabs = finished_slabs([counting], image, Sweep((8, 8, 8), 1))
    seen = []
    for slab in slabs:
        seen.append((counting.seen, slab.shape[1]))
    # Windows start at 0, 4, ... 24: the first four slices are known after one window, the last eight after all seven.
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4), (5, 4), (6, 4), (7, 8)]


def test_two_views_are_the_image_and_the_one_mirrored_along_every_axis() -> None:
    assert views((0, 2), "two") == ((), (0, 2))
    assert views((), "two") == views((0, 1), "none") == ((),)
    assert views((0,), "all") == ((), (0,))


@pytest.mark.parametrize(
    ("shape", "patch", "expected"),
    [
        ((8, 8, 8), (8, 8, 8), (8, 8, 8)),
        ((8, 5, 15), (8, 8, 12), (8, 8, 16)),  # no edge shrinks; 15 is rounded up to what two strides of 2 divide
        ((9, 9, 9), (8, 8, 8), (8, 8, 8)),  # 12 x 12 x 12 would be more than three times the patch
        ((5, 16, 8), (8, 8), (16, 8)),  # slice by slice
    ],
)
def test_one_large_window_replaces_several_up_to_twice_the_patch(
    shape: tuple[int, ...], patch: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert enlarged(patch, shape, [(1,) * len(patch), (2,) * len(patch), (2,) * len(patch)]) == expected


class Sided(nn.Module):
    """Says "left" (channel 1) at the first voxel along x and "right" (channel 2) at the last, whatever it sees."""

    def forward(self, image: Tensor) -> Tensor:
        logits = torch.zeros(len(image), 3, *image.shape[2:])
        logits[:, 1, ..., 0] = logits[:, 2, ..., -1] = 1
        return logits


def test_mirrored_passes_exchange_left_and_right():
    image, patch = noise(1, 2, 2, 4), (2, 2, 4)
    plain = predicted([Sided()], image, patch_size=patch, output_channels=3)
    mixed_up = predicted([Sided()], image, patch_size=patch, output_channels=3, mirror_axes=(1, 2))
    pairing = Exchanged(axis=2, inputs=(0,), outputs=(0, 2, 1))
    paired = predicted([Sided()], image, patch_size=patch, output_channels=3, mirror_axes=(1, 2), exchanged=pairing)
    assert plain[:, 0, 0].tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert mixed_up[:, 0, 0].tolist() == [[0, 0, 0, 0], [0.5, 0, 0, 0.5], [0.5, 0, 0, 0.5]]
    assert torch.equal(paired, plain)


def test_mirrored_passes_exchange_the_masks_of_a_first_stage_on_the_way_in():
    # The network passes image, left mask and right mask on: exchanged on the way in and out they are what they were.
    image = noise(3, 4, 4, 4)
    pairing = Exchanged(axis=0, inputs=(0, 2, 1), outputs=(0, 2, 1))
    found = predicted(
        [nn.Identity()], image, patch_size=(4, 4, 4), output_channels=3, mirror_axes=(0, 1), exchanged=pairing
    )
    assert torch.allclose(found, image, atol=1e-6)


@pytest.mark.parametrize("axes", [(), (0, 1, 2)])
def test_passes_side_by_side_say_what_passes_one_by_one_say(axes: tuple[int, ...]) -> None:
    networks, image = [small_network(1), small_network(2)], noise(2, 11, 9, 14)
    before = torch.get_num_threads()
    chosen = {"patch_size": (6, 8, 5), "output_channels": 3, "mirror_axes": axes}
    assert torch.equal(predicted(networks, image, workers=3, **chosen), predicted(networks, image, **chosen))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("axes", [(0, 2), (1,)])
def test_voices_follow_the_very_mean_and_are_what_each_network_or_mirroring_says_alone(axes: tuple[int, ...]) -> None:
    networks, image = [small_network(1), small_network(2)], noise(2, 11, 9, 14)
    image[:, :5] = 0  # windows of nothing but zeros have voices, too
    sweep = Sweep((6, 8, 5), 3, mirrorings=tuple(mirrorings(axes)))
    mean = predict_logits(networks, image, sweep)
    folds = predict_logits(networks, image, replace(sweep, apart="networks"))
    assert torch.equal(folds[:3], mean)
    for index, network in enumerate(networks):
        torch.testing.assert_close(folds[3 + 3 * index :][:3], predict_logits([network], image, sweep))
    views = predict_logits(networks[:1], image, replace(sweep, apart="mirrorings"))
    assert torch.equal(views[:3], predict_logits(networks[:1], image, sweep))
    for index, view in enumerate(sweep.mirrorings):
        alone = predict_logits(networks[:1], image, replace(sweep, mirrorings=(view,)))
        torch.testing.assert_close(views[3 + 3 * index :][:3], alone)


def test_one_network_alone_has_no_voices() -> None:
    sweep = Sweep((6, 8, 5), 3, apart="networks")
    assert len(predict_logits([small_network(1)], noise(2, 11, 9, 14), sweep)) == 3
