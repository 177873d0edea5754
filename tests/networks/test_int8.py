import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoseg.networks.int8 import Int8Convolution, encoded, int8_copy
from autoseg.networks.unet import build_network
from tests.prediction import small
from tests.prediction.test_arithmetic import needs_int8

KINDS = [("plain_unet", 3), ("plain_unet", 2), ("residual_unet", 3), ("residual_unet", 2)]


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(kind, dimensions):
    spec = small.spec(kind, dimensions).model_copy(update={"features": (32, 64)})
    network = build_network(spec, dimensions=dimensions, in_channels=2, out_channels=3, deep_supervision=False)
    for parameter in network.parameters():  # biases and norms are zero and one in a fresh network
        parameter.data += 0.1 * noise(*parameter.shape)
    return network.eval()


@torch.no_grad()
def answer(network, images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return network(images).float()


@given(
    st.lists(st.floats(-1e4, 1e4, width=16), min_size=1, max_size=40),
    st.integers(2, 3),
)
def test_a_code_lies_within_a_step_of_its_feature_and_that_of_zero_is_exact(values, dimensions):
    features = torch.tensor([0.0, *values]).to(torch.bfloat16).reshape(1, 1, *(1,) * (dimensions - 1), -1)
    codes, scale, zero_point = encoded(features)
    found = scale * (codes.double() - zero_point)
    assert codes.dtype == torch.uint8
    assert found.flatten()[0] == 0
    assert (found - features.double()).abs().max() <= 0.7501 * scale


def test_codes_are_the_same_however_many_features_there_are_at_a_time(monkeypatch):
    features = noise(2, 3, 5, 6, 7)
    whole, scale, zero_point = encoded(features)
    monkeypatch.setattr("autoseg.networks.int8.AT_A_TIME", 64)
    parts, *others = encoded(features)
    assert torch.equal(whole, parts)
    assert others == [scale, zero_point]


def test_features_that_are_all_zero_stay_so():
    codes, scale, zero_point = encoded(torch.zeros(1, 16, 4, 4))
    assert math.isfinite(scale)
    assert bool((codes == zero_point).all())


@needs_int8
@pytest.mark.parametrize(("kind", "stride"), [(nn.Conv3d, 1), (nn.Conv3d, 2), (nn.Conv2d, 1), (nn.Conv2d, (2, 1))])
def test_codes_are_convolved_as_the_numbers_they_stand_for(kind, stride):
    convolution = kind(16, 24, 3, stride=stride, padding=1)
    features = noise(2, 16, *(7, 8, 6)[: convolution.weight.dim() - 2])
    codes, scale, zero_point = encoded(features)
    largest = convolution.weight.detach().flatten(1).abs().amax(1).reshape(-1, *(1,) * (convolution.weight.dim() - 1))
    with torch.no_grad():
        convolution.weight.copy_(torch.round(convolution.weight / (largest / 127)) * (largest / 127))
        expected = convolution(scale * (codes.float() - zero_point))
        found = Int8Convolution(convolution)(features)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=2**-8, atol=1e-3)


@needs_int8
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_does_not_pass_unseen(bad):
    features = noise(1, 16, 5, 5)
    features[0, 3, 2, 2] = bad
    assert bool(Int8Convolution(nn.Conv2d(16, 32, 3))(features).isnan().all())


@needs_int8
@pytest.mark.parametrize(("kind", "dimensions"), KINDS)
def test_a_network_in_whole_numbers_answers_nearly_as_it_did(kind, dimensions):
    network, images = made(kind, dimensions), noise(2, 2, *(12, 8, 16)[:dimensions], seed=2)
    with torch.no_grad():
        exact = network(images)
    copied = int8_copy(network)
    found = answer(copied, images)
    assert any(isinstance(module, Int8Convolution) for module in copied.modules())
    assert (found - exact).norm() < 0.05 * exact.norm()
    assert (found - exact).norm() > (answer(network, images) - exact).norm()


@needs_int8
def test_the_network_and_the_image_stay_as_they_were():
    network, images = made("plain_unet", 3), noise(1, 2, 12, 8, 16)
    weights, voxels = {name: value.clone() for name, value in network.state_dict().items()}, images.clone()
    answer(int8_copy(network), images)
    assert torch.equal(images, voxels)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_other_networks_are_handed_back():
    other = small.Brightness()
    assert int8_copy(other) is other
