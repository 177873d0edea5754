"""Blocks of networks."""

import pytest
import torch
from torch import nn

from autoseg.errors import UnknownNameError
from autoseg.networks.blocks import INITIALISATIONS, ConvBlock, convolved, initialise


def test_gradients_of_tiny_grids_are_those_of_float32_under_bf16():
    block = ConvBlock(in_channels=320, out_channels=320, kernel=(3, 3, 3), stride=(1, 1, 1), norm="instance")
    features = torch.randn(1, 320, 2, 2, 2, generator=torch.Generator().manual_seed(0))

    def gradient(*, enabled):
        # What was freed before is where a kernel that forgets to clear its buffer finds garbage.
        garbage = [torch.full((1 << 20,), float("nan")) for _ in range(8)]
        del garbage
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = block.conv(features) if not enabled else convolved(block.conv, features)
        output.float().square().sum().backward()
        return block.conv.weight.grad.clone()

    exact = gradient(enabled=False)
    for _ in range(5):
        torch.testing.assert_close(gradient(enabled=True), exact)


@pytest.mark.parametrize(
    ("how", "deviation"),
    [
        # A kernel of 3 x 3 over 16 maps has 144 inputs and, over 32 results, 288 outputs.
        ("he_normal", (2 / (1 + 0.01**2) / 144) ** 0.5),
        ("he_uniform", (2 / (1 + 0.01**2) / 144) ** 0.5),
        ("xavier_normal", (2 / (144 + 288)) ** 0.5),
        ("xavier_uniform", (2 / (144 + 288)) ** 0.5),
        ("orthogonal", (1 / 144) ** 0.5),
    ],
)
def test_initial_weights_have_the_deviation_their_source_asks_for(how, deviation):
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 32, 3)
    initialise(layer, how)
    assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=0.05)
    assert torch.count_nonzero(layer.bias) == 0


def test_every_initialisation_is_tried():
    assert set(INITIALISATIONS) == {"he_normal", "he_uniform", "xavier_normal", "xavier_uniform", "orthogonal"}
    with pytest.raises(UnknownNameError, match="Did you mean 'he_normal'"):
        initialise(nn.Conv2d(1, 1, 1), "he_norml")


@pytest.mark.parametrize(("features", "groups"), [(16, 8), (12, 4), (5, 1)])
def test_group_norm_takes_the_largest_number_of_groups_up_to_eight_that_divides_the_maps(features, groups):
    block = ConvBlock(in_channels=1, out_channels=features, kernel=(3, 3), stride=(1, 1), norm="group")
    assert block.norm.num_groups == groups
    assert block(torch.randn(2, 1, 4, 4)).shape == (2, features, 4, 4)
