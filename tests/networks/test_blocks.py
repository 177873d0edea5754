"""Blocks of networks."""

import torch

from autoseg.networks.blocks import ConvBlock


def test_gradients_of_tiny_grids_are_those_of_float32_under_bf16():
    block = ConvBlock(in_channels=320, out_channels=320, kernel=(3, 3, 3), stride=(1, 1, 1), norm="instance")
    features = torch.randn(1, 320, 2, 2, 2, generator=torch.Generator().manual_seed(0))

    def gradient(*, enabled):
        # What was freed before is where a kernel that forgets to clear its buffer finds garbage.
        garbage = [torch.full((1 << 20,), float("nan")) for _ in range(8)]
        del garbage
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = block.conv(features) if not enabled else block._convolved(features)
        output.float().square().sum().backward()
        return block.conv.weight.grad.clone()

    exact = gradient(enabled=False)
    for _ in range(5):
        torch.testing.assert_close(gradient(enabled=True), exact)
