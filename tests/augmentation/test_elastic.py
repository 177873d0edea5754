import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from autoseg.augmentation.elastic import Elastic
from autoseg.augmentation.spatial import Patch, Placing, place, source_of

PATCH = (20, 24, 28)


def elastic(**changes):
    values = {"sigmas": (4.0, 5.0, 6.0), "magnitudes": (2.0, 1.0, 3.0), "seed": 5}
    return Elastic(**(values | changes))


def test_the_field_follows_from_the_seed_alone():
    state = torch.random.get_rng_state()
    assert torch.equal(elastic().field(PATCH), elastic().field(PATCH))
    assert not torch.equal(elastic().field(PATCH), elastic(seed=6).field(PATCH))
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_largest_displacement_along_each_axis_is_as_asked_and_its_mean_is_none():
    field = elastic().field(PATCH)
    assert field.shape == (3, *PATCH)
    assert field.abs().amax(dim=(1, 2, 3)).tolist() == pytest.approx([2, 1, 3], rel=1e-5)
    assert field.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)


@pytest.mark.parametrize("sigma", [0.7, 3.0, 8.0])
def test_neighbours_move_as_alike_as_the_smoothing_says(sigma):
    # The correlation of smoothed white noise at distance d is exp(-d^2 / (4 sigma^2)).
    found = [elastic(sigmas=(sigma,) * 3, seed=seed).field((48, 48, 48))[0] for seed in range(6)]
    for distance in (1, max(1, round(sigma))):
        near = np.mean([np.corrcoef(f[distance:].flatten(), f[:-distance].flatten())[0, 1] for f in found])
        assert near == pytest.approx(np.exp(-(distance**2) / (4 * sigma**2)), abs=0.12)


def test_without_smoothing_along_an_axis_all_slices_are_displaced_alike():
    field = elastic(sigmas=(0.0, 5.0, 6.0), magnitudes=(0.0, 1.0, 3.0)).field(PATCH)
    assert (field[0] == 0).all()
    assert (field == field[:, :1]).all()


def test_a_deformed_patch_is_what_scipy_finds_at_the_displaced_points():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 40, 44, 48)).astype(np.float32)
    classes = rng.integers(0, 3, image.shape[1:]).astype(np.int8)
    placing = Placing(angles=(0.2, -0.1, 0.3), scales=(1.1, 0.9, 1.3), mirrored=(1,), elastic=elastic())
    corner = (10, 10, 10)
    source = source_of(placing, corner=corner, patch=PATCH, shape=classes.shape)
    into = Patch(torch.empty(1, *PATCH), torch.empty(PATCH, dtype=torch.int8))
    box = (slice(None), *source.box)
    place(torch.from_numpy(image[box]), torch.from_numpy(classes[source.box]), placing, centre=source.centre, into=into)
    grid = np.stack(np.meshgrid(*(np.arange(size) - (size - 1) / 2 for size in PATCH), indexing="ij"))
    moved = grid + elastic().field(PATCH).numpy()
    middle = np.array([first + (size - 1) / 2 for first, size in zip(corner, PATCH, strict=True)])
    points = np.einsum("ca,azyx->czyx", np.array(placing.matrix), moved) + middle[:, None, None, None]
    expected = map_coordinates(image[0], points, order=1, mode="constant", cval=0.0)
    np.testing.assert_allclose(into.image[0], expected, atol=5e-4)
    nearest = map_coordinates(classes, points, order=0, mode="constant", cval=-1)
    assert (into.classes.numpy() != nearest).mean() < 0.01


def test_slices_stay_slices_when_they_are_deformed_in_their_plane():
    image = torch.arange(5.0).view(1, 5, 1, 1).expand(1, 5, 32, 32).contiguous()
    placing = Placing(in_plane=True, elastic=elastic(sigmas=(0.0, 4.0, 4.0), magnitudes=(0.0, 2.0, 2.0)))
    into = Patch(torch.empty(1, 5, 16, 16), torch.empty((5, 16, 16), dtype=torch.int8))
    source = source_of(placing, corner=(0, 8, 8), patch=into.size, shape=(5, 32, 32))
    box = (slice(None), *source.box)
    place(image[box], image[0].to(torch.int8)[source.box], placing, centre=source.centre, into=into)
    assert torch.allclose(into.image[0, :, 5, 5], torch.arange(5.0), atol=1e-4)
