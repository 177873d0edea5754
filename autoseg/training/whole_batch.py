"""What looks at a whole batch, a loss or a batch norm, where several processes hold a share of it each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoseg.pooling import pooled_by
from autoseg.training.distributed import Ranks


@dataclass(frozen=True)
class WholeBatch:
    """A loss whose value is that of the whole batch in every process, while its gradient is that of one's own share.

    The mean of the processes' gradients is then that of the whole batch: shares of unequal size are weighted. Sums that
    a loss takes over the batch of `samples` are pooled (`autoseg.pooling.over_batch`).
    """

    loss: Callable[[Sequence[Tensor], Tensor], Tensor]
    ranks: Ranks
    samples: int

    def __call__(self, logits: Sequence[Tensor], target: Tensor) -> Tensor:
        """The loss of this process's share of logits and classes."""
        if self.ranks.size == 1:
            return self.loss(logits, target)
        weight = self.ranks.size * len(self.ranks.share(self.samples)) / self.samples
        with pooled_by(self.ranks.pooled):
            own = weight * self.loss(logits, target)
        mean = self.ranks.summed(own) / self.ranks.size
        return own + (mean - own.detach()) if bool(torch.isfinite(mean)) else mean


def pool_norms(network: nn.Module, ranks: Ranks) -> None:
    """Let every batch norm of `network` look at the samples of all processes."""
    for module in network.modules() if ranks.size > 1 else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = _PooledNorm(module, ranks)  # type: ignore[assignment,method-assign]


def shares_norms(network: nn.Module, ranks: Ranks) -> bool:
    """Whether processes exchange something inside the network, where none can go back on its own."""
    norms = (module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return ranks.size > 1 and any(True for _ in norms)


@dataclass(frozen=True, eq=False)
class _PooledNorm:
    """The forward pass of a batch norm over the samples of all processes. Source: Ioffe and Szegedy, ICML 2015."""

    norm: nn.modules.batchnorm._BatchNorm
    ranks: Ranks

    def __call__(self, values: Tensor) -> Tensor:
        """`values` (sample, channel, *grid) normalised, in their number type."""
        norm = self.norm
        if not norm.training:
            return type(norm).forward(norm, values)
        x = values.float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        count = self.ranks.summed(x.new_tensor(x.numel() / x.shape[1]))
        mean = self.ranks.pooled(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = self.ranks.pooled(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        normed = centred * torch.rsqrt(variance + norm.eps).view(shape)
        if norm.affine:
            normed = normed * norm.weight.view(shape) + norm.bias.view(shape)
        return normed.to(values.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        norm = self.norm
        if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
            return
        norm.num_batches_tracked += 1
        share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(variance, share)
