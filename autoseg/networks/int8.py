"""Networks that only predict on a processor, with convolutions in whole numbers of eight bits."""

import math

import torch
from torch import Tensor, nn

from autoseg.networks.blocks import CONVOLUTIONS, ConvBlock
from autoseg.networks.half import half_copy
from autoseg.networks.norms import LAYOUTS

LARGEST_WEIGHT = 127
STEPS = 253
"""Steps between the least and the greatest feature: two fewer than there are, so that rounding stays within eight bits."""
SMALLEST_SPAN = 1e-30
"""Features that differ by less are all the same."""
AT_A_TIME = 2**18
"""So many features are turned into codes at a time: they stay in a cache."""
WORTH_IT = 250
"""Where each feature takes part in fewer products, turning it into a code costs more than is saved."""
FEWEST_CHANNELS = 16
"""What a convolution of fewer channels sees is the image, whose values are not spread like those of features."""

_CONVOLUTIONS = tuple(CONVOLUTIONS.values())


class Int8Convolution(nn.Module):
    """A convolution of codes: whole numbers 0 to 255 for features, -127 to 127 for weights, sums of 32 bits.

    Maps features (B, in, *n) to bf16 features (B, out, *m), channels-last. Weights are parted into equal steps for each
    output channel, features for each call, between their least and greatest value; zero has a code of its own. Sources:
    Jacob et al., CVPR 2018; the arithmetic is oneDNN's.
    """

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        exact: Tensor = convolution.weight.detach().float()  # type: ignore[operator]
        per_output = [-1] + [1] * (exact.dim() - 1)
        self._scales = exact.flatten(1).abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / LARGEST_WEIGHT
        codes = torch.round(exact / self._scales.reshape(per_output)).to(torch.int8)
        self._shape = [list(getattr(convolution, name)) for name in ("stride", "padding", "dilation")]
        self.weight = torch.ops.onednn.qconv_prepack(codes, self._scales, 1.0, 0, *self._shape, 1, None)
        self._zero_points = torch.zeros(len(exact), dtype=torch.int32)
        self._bias = None if convolution.bias is None else convolution.bias.detach().float()  # type: ignore[operator]

    def forward(self, features: Tensor) -> Tensor:
        """What the convolution makes of the features; NaN everywhere where one of them is not finite."""
        codes, scale, zero_point = encoded(features)
        result: Tensor = torch.ops.onednn.qconv_pointwise(
            codes,
            scale,
            zero_point,
            self.weight,
            self._scales,
            self._zero_points,
            self._bias,
            *self._shape,
            1,  # groups
            1.0,  # scale and zero point of a result in whole numbers
            0,
            torch.bfloat16,
            "none",  # nothing is done to the result
            [],
            "",
        )
        return result


def encoded(features: Tensor) -> tuple[Tensor, float, int]:
    """Codes (uint8, channels-last) of features (B, channel, *n), with scale and zero point.

    A feature is about scale * (code - zero point), within 3/4 of a step (rounded to bf16 and then to a whole number); 0 is
    exact. `scale` is NaN where a feature is not finite.
    """
    layout = LAYOUTS[features.dim()]
    dense = features.to(torch.bfloat16).contiguous(memory_format=layout)
    values = dense.movedim(1, -1).reshape(-1)
    least, greatest = _range(values)
    if not math.isfinite(greatest - least):
        return torch.zeros_like(dense, dtype=torch.uint8), math.nan, 0
    # torch.add rounds its factor to the features' own type.
    per_unit = float(torch.tensor(STEPS / max(greatest - least, SMALLEST_SPAN), dtype=torch.bfloat16))
    zero_point = round(-least * per_unit)
    codes = torch.empty_like(dense, dtype=torch.int8)
    written = codes.movedim(1, -1).view(-1)
    # Signed numbers first: bf16 turns into them eight times as fast as into unsigned ones.
    offset = torch.tensor(zero_point - 128.0, dtype=torch.bfloat16)
    scratch = torch.empty(min(AT_A_TIME, len(values)), dtype=torch.bfloat16)
    for start in range(0, len(values), AT_A_TIME):
        some = values[start : start + AT_A_TIME]
        written[start : start + AT_A_TIME] = torch.add(offset, some, alpha=per_unit, out=scratch[: len(some)]).round_()
    return codes.bitwise_xor_(-128).view(torch.uint8), 1 / per_unit, zero_point


def _range(values: Tensor) -> tuple[float, float]:
    """The least and the greatest of the values (bf16) and zero; NaN counts as greater than all, or less.

    The bits of positive numbers are in the order of the numbers, and whole numbers are compared nine times as fast.
    """
    least = greatest = torch.zeros((), dtype=torch.int16)
    for start in range(0, len(values), AT_A_TIME):
        bits = values[start : start + AT_A_TIME].view(torch.int16)
        greatest = torch.maximum(greatest, bits.amax())
        least = torch.maximum(least, bits.bitwise_xor(-(2**15)).amax())  # the sign turned round
    return -float(least.view(torch.bfloat16)), float(greatest.view(torch.bfloat16))


def int8_copy(network: nn.Module) -> nn.Module:
    """A copy of a UNet whose costly convolutions multiply codes of eight bits; the rest as in `half_copy`.

    The first convolution, which sees the image, transposed convolutions and heads stay in bf16. Not to be trained. Another
    network is handed back as it is.
    """
    found = half_copy(network)
    if found is network:
        return network
    for block in found.modules():
        if isinstance(block, ConvBlock) and isinstance(block.conv, _CONVOLUTIONS) and _is_worth_it(block.conv):
            block.conv = Int8Convolution(block.conv)
    return found


def _is_worth_it(convolution: nn.Module) -> bool:
    weight: Tensor = convolution.weight  # type: ignore[assignment]
    stride: tuple[int, ...] = convolution.stride  # type: ignore[assignment]
    products = weight[:, 0].numel() / math.prod(stride)
    return weight.shape[1] >= FEWEST_CHANNELS and products >= WORTH_IT
