"""Networks that only predict on a processor: weights of bf16, laid out as its convolutions like them."""

import copy

import torch
from torch import nn

from autoseg.networks.blocks import CONVOLUTIONS, TRANSPOSED, ConvBlock
from autoseg.networks.norms import LAYOUTS, InstanceNorm
from autoseg.networks.unet import UNet

_WITH_KERNELS = (*CONVOLUTIONS.values(), *TRANSPOSED.values())


def half_copy(network: nn.Module) -> nn.Module:
    """A copy that answers as `network` does under autocast to bf16, faster and with half the weights; not to be trained.

    Autocast rounds the weights anew at each pass; here that is done once. Channels-last weights make every feature map
    channels-last, which spares oneDNN its reordering, and instance norms write over what they read. Only a UNet is known
    well enough for that: another network is handed back as it is.
    """
    if not isinstance(network, UNet):
        return network
    found = copy.deepcopy(network).eval().requires_grad_(False)
    for module in found.modules():
        if isinstance(module, _WITH_KERNELS):
            weight = module.weight
            assert isinstance(weight, nn.Parameter), "convolutions have weights"
            module.to(dtype=torch.bfloat16, memory_format=LAYOUTS[weight.dim()])  # type: ignore[call-overload]
        elif isinstance(module, ConvBlock) and isinstance(module.norm, InstanceNorm):
            module.norm.in_place = True  # the convolution's result is nobody else's
    return found
