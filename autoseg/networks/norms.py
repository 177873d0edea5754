"""Instance normalisation that leaves the layout of its input as it is."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYOUTS: dict[int, torch.memory_format] = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the number of axes: the layout in which the channels of a voxel lie side by side."""


class InstanceNorm(nn.Module):
    """Each channel of each sample brought to mean 0 and deviation 1, then times a weight plus a bias of its channel.

    Maps (B, features, *n) to the same shape. What is laid out channels-last on a processor stays so: torch's own
    instance norm would copy it back and forth between every two convolutions. `in_place` spares a copy of the features
    where no gradients are asked for and nobody else needs them. Source: Ulyanov et al., 2016.
    """

    def __init__(self, features: int, *, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.epsilon = epsilon
        self.in_place = False

    def forward(self, features: Tensor) -> Tensor:
        """The normalised features."""
        # A compiler writes a kernel of its own in whichever layout, and could not look into this one.
        if features.device.type == "cpu" and is_channels_last(features) and not torch.compiler.is_compiling():
            if self.in_place and not torch.is_grad_enabled():
                _normalise(features, self.weight, self.bias, self.epsilon, out=features)
                return features
            result: Tensor = _ChannelsLast.apply(features, self.weight, self.bias, self.epsilon)  # type: ignore[no-untyped-call]
            return result
        return F.instance_norm(features, weight=self.weight, bias=self.bias, eps=self.epsilon)


def is_channels_last(features: Tensor) -> bool:
    """Whether the channels of each voxel lie side by side, and not also the voxels of each channel."""
    layout = LAYOUTS.get(features.dim())
    return layout is not None and features.is_contiguous(memory_format=layout) and not features.is_contiguous()


def _normalise(features: Tensor, weight: Tensor, bias: Tensor, epsilon: float, *, out: Tensor) -> tuple[Tensor, Tensor]:
    """Write the normalised features to `out`; mean and 1 / deviation (B, features) of what they were."""
    mean, scale = (torch.empty(features.shape[:2]) for _ in range(2))
    for index in range(len(features)):
        one = slice(index, index + 1)
        torch.ops.aten.native_batch_norm.out(
            features[one],
            weight,
            bias,
            None,
            None,
            True,
            0.0,
            epsilon,
            out=out[one],
            save_mean=mean[index],
            save_invstd=scale[index],
        )
    return mean, scale


class _ChannelsLast(torch.autograd.Function):
    """One sample after the other as a batch of its own: batch norm has fast kernels for this layout in both directions.

    Group norm with a group per channel computes the same, but its backward pass takes 80 times as long (torch 2.13).
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        result = torch.empty_like(features)
        mean, scale = _normalise(features, weight, bias, epsilon, out=result)
        ctx.save_for_backward(features, weight, mean, scale)
        ctx.epsilon = epsilon
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        features, weight, mean, scale = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=LAYOUTS[features.dim()])
        to_features, to_weight, to_bias = torch.empty_like(features), torch.empty_like(mean), torch.empty_like(mean)
        for index in range(len(features)):
            one = slice(index, index + 1)
            torch.ops.aten.native_batch_norm_backward.out(
                gradient[one],
                features[one],
                weight,
                None,
                None,
                mean[index],
                scale[index],
                True,
                ctx.epsilon,
                [True, True, True],
                out0=to_features[one],
                out1=to_weight[index],
                out2=to_bias[index],
            )
        return to_features, to_weight.sum(0), to_bias.sum(0), None
