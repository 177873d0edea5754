import pytest
import torch

from autoseg.networks.half import half_copy
from autoseg.networks.unet import build_network
from tests.prediction import small

KINDS = [("plain_unet", 3), ("plain_unet", 2), ("residual_unet", 3), ("residual_unet", 2)]


def made(kind, dimensions):
    spec = small.spec(kind, dimensions).model_copy(update={"features": (8, 16)})
    network = build_network(spec, dimensions=dimensions, in_channels=2, out_channels=3, deep_supervision=False)
    for parameter in network.parameters():  # biases and norms are zero and one in a fresh network
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return network.eval()


def image(dimensions):
    return torch.randn(2, 2, *(12, 8, 16)[:dimensions], generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def answer(network, images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return network(images).float()


@pytest.mark.parametrize(("kind", "dimensions"), KINDS)
def test_halved_networks_answer_as_well_as_under_autocast(kind, dimensions):
    network, images = made(kind, dimensions), image(dimensions)
    with torch.no_grad():
        exact = network(images)
    as_autocast, halved = (answer(one, images) for one in (network, half_copy(network)))
    error = (as_autocast - exact).abs().mean()
    assert (halved - exact).abs().mean() < 1.5 * error + 1e-3
    assert (halved - as_autocast).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize(("kind", "dimensions"), KINDS)
def test_the_network_itself_stays_as_it_was(kind, dimensions):
    network, images = made(kind, dimensions), image(dimensions)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        expected = network(images)
        answer(half_copy(network), images)
        assert torch.equal(network(images), expected)
    assert all(
        value.dtype == torch.float32 and torch.equal(value, before[name]) for name, value in network.state_dict().items()
    )
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_an_image_is_not_written_over():
    images = image(3)
    before = images.clone()
    answer(half_copy(made("plain_unet", 3)), images)
    assert torch.equal(images, before)


def test_other_networks_are_handed_back():
    other = small.Brightness()
    assert half_copy(other) is other
