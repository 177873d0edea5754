"""Sums over a batch of which several processes hold a share each."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

Pool = Callable[[Tensor], Tensor]
"""Adds up what all processes give it, elementwise; the sum is the same in all of them and gradients pass through it."""

_POOL: ContextVar[Pool | None] = ContextVar("pool", default=None)


@contextmanager
def pooled_by(pool: Pool) -> Iterator[None]:
    """Within, `pool` adds what other processes have summed over their shares of the batch."""
    before = _POOL.set(pool)
    try:
        yield
    finally:
        _POOL.reset(before)


def is_shared() -> bool:
    """Whether other processes hold a share of the batch."""
    return _POOL.get() is not None


def over_batch(sums: Tensor) -> Tensor:
    """`sums` over this process's samples, plus those of the other processes that share the batch; as it is where none do.

    For ratios of sums over the whole batch. Every process must call it equally often and in the same order.
    """
    pool = _POOL.get()
    return sums if pool is None else pool(sums)


def ratio(total: Tensor, count: Tensor) -> Tensor:
    """`total` / `count`, both summed over the whole batch; 0 where nothing counts."""
    whole_total, whole_count = over_batch(torch.stack([total, count.to(total.dtype)]))
    found: Tensor = whole_total / torch.where(whole_count > 0, whole_count, 1)
    return found


def largest_of_batch(values: Tensor, share: float) -> Tensor:
    """How much each of `values` (n,), none below 0, belongs to the `share` (0 to 1) largest of the whole batch: 0 to 1.

    Their number is rounded up; those as large as the smallest that belongs share what is left evenly. The smallest is found
    bit by bit, by counting: floats from 0 on are in the order of their bits, and counts are all that has to be exchanged.
    """
    # Zero has a bit pattern below it, minus zero.
    values = values.detach().float().clamp_min(0) + 0.0
    bits = values.contiguous().view(torch.int32)

    def count(chosen: Tensor) -> float:
        return float(over_batch(chosen.sum(dtype=torch.float64)))

    wanted = math.ceil(share * count(torch.ones_like(bits)))
    smallest = 0
    for bit in reversed(range(31)):
        candidate = smallest | 1 << bit
        if count(bits >= candidate) >= wanted:
            smallest = candidate
    above, as_large = bits > smallest, bits == smallest
    left = wanted - count(above)
    return above.float() + as_large.float() * (left / max(count(as_large), 1.0))
