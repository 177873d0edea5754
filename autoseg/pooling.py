"""Sums over a batch of which several processes hold a share each."""

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
