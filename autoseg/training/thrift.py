"""Training on when a device has too little memory: a batch in parts, then activations computed a second time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from autoseg.errors import TrainingError
from autoseg.training.distributed import Ranks

T = TypeVar("T")

_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")
"""What devices without an exception of their own say (processors, MPS)."""


@dataclass(frozen=True)
class Thrift:
    """How a step saves memory: samples that go through the network at a time (None: all), and forgotten activations."""

    micro_batch: int | None = None
    recompute: bool = False

    def sizes(self, samples: int) -> list[int]:
        """How many samples go through the network each time."""
        most = self.micro_batch or samples
        return [min(most, samples - first) for first in range(0, samples, most)]

    def less(self, samples: int) -> "Thrift | None":
        """The next way to need less memory for a batch of `samples`; None where there is no other."""
        now = min(self.micro_batch or samples, samples)
        if now > 1:
            return Thrift(micro_batch=-(-now // 2), recompute=self.recompute)
        return None if self.recompute else Thrift(micro_batch=self.micro_batch, recompute=True)

    def __str__(self) -> str:
        parts = [] if self.micro_batch is None else [f"micro-batches of {self.micro_batch}"]
        return " and ".join([*parts, *(["activations computed again"] if self.recompute else [])]) or "whole batches"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device has no memory left."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _MESSAGES)


def in_all_or_none(ranks: Ranks, attempt: Callable[[], T]) -> T:
    """What `attempt` gives; MemoryError in every process where the device of one of them has too little memory.

    Inside it nothing may be exchanged with the others, so that all come to its end.
    """
    if ranks.size == 1:
        return attempt()
    found, reason = [], ""
    try:
        found.append(attempt())
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = _reason(error)
    if ranks.any(not found):
        found.clear()
        raise MemoryError(reason or "that of another process of this training")
    return found[0]


def with_memory_left(
    attempt: Callable[[Thrift], T], thrift: Thrift, *, samples: Callable[[], int], warn: Callable[[str], None]
) -> tuple[T, Thrift]:
    """What `attempt` gives with the first way to save memory, from `thrift` on, that suffices; and that way.

    `samples` gives the size of the batch, which is only asked for when memory runs out. Raises TrainingError when no way
    suffices.
    """
    while True:
        try:
            return attempt(thrift), thrift
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = _reason(error)
        # Only here, outside of the handler, nothing holds on to the tensors of the attempt any more.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        count = samples()
        found = thrift.less(count)
        if found is None:
            raise TrainingError(
                "the device has too little memory even for one sample at a time with activations computed again "
                f"({reason}). Free its memory, choose another with --device, or plan for less: autoseg_plan DATASET "
                "--gpu-memory GB"
            )
        thrift = found
        warn(f"out of memory on the device ({reason}): going on with {thrift}; the batch stays {count}")


def _reason(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _at_once(attempt: Callable[[], T]) -> T:
    return attempt()


class Together(Protocol):
    """A way to do what may need more memory than there is: here, or in step with other processes."""

    def __call__(self, attempt: Callable[[], T]) -> T:
        """What `attempt` gives."""
        ...


def gradients(
    logits: Sequence[Tensor],
    *,
    loss: Callable[[list[Tensor]], Tensor],
    backward: Callable[[Tensor], None],
    together: Together,
) -> Tensor:
    """The loss of a whole batch (detached), its gradients added to the parameters that `logits` come from.

    First the loss's with respect to the logits, in which processes exchange sums, then the network's, which is done by
    `together`. Nothing is added where the loss is not finite.
    """
    leaves = [level.detach().requires_grad_() for level in logits]
    total = loss(leaves)
    if bool(torch.isfinite(total)):
        backward(total)
        used = [(level, leaf.grad) for level, leaf in zip(logits, leaves, strict=True) if leaf.grad is not None]
        together(lambda: torch.autograd.backward([level for level, _ in used], [gradient for _, gradient in used]))
    return total.detach()


def gradients_in_parts(
    forward: Callable[[Tensor], list[Tensor]],
    network: nn.Module,
    *,
    image: Tensor,
    loss: Callable[[list[Tensor]], Tensor],
    backward: Callable[[Tensor], None],
    sizes: Sequence[int],
    seed: Callable[[int], None],
    together: Together = _at_once,
) -> Tensor:
    """The loss of a whole batch (detached), its gradients added to the parameters, with one part in memory at a time.

    Every part goes through the network twice: first for its logits, of which all together give the loss and its gradient
    with respect to them, then for the gradient of the weights. So losses that pool over the batch, as batch Dice, are
    exact; batch norm sees parts. `seed` is called with a part's number before it, so that dropout draws the same both
    times; `backward` is that of the loss, scaled or not. Nothing is added where the loss is not finite. `together` does
    all that goes through the network.
    Source: Gao et al., RepL4NLP 2021 (gradient cache).
    """
    parts = torch.split(image, list(sizes))
    with torch.no_grad(), buffers_kept(network):
        logits = together(lambda: _joined(_each(forward, parts, seed)))
    for level in logits:
        level.requires_grad_()
    total = loss(logits)
    if not bool(torch.isfinite(total)):
        return total.detach()
    backward(total)
    shares = [None if level.grad is None else torch.split(level.grad, list(sizes)) for level in logits]
    del logits

    def add_gradients() -> None:
        for number, part in enumerate(parts):
            seed(number)
            levels = forward(part)
            used = [(level, share[number]) for level, share in zip(levels, shares, strict=True) if share is not None]
            with buffers_kept(network):
                torch.autograd.backward([level for level, _ in used], [gradient for _, gradient in used])

    together(add_gradients)
    return total.detach()


def _each(
    forward: Callable[[Tensor], list[Tensor]], parts: Sequence[Tensor], seed: Callable[[int], None]
) -> Iterator[list[Tensor]]:
    for number, part in enumerate(parts):
        seed(number)
        yield forward(part)


def _joined(parts: Iterator[list[Tensor]]) -> list[Tensor]:
    return [torch.cat(levels) for levels in zip(*parts, strict=True)]


@contextmanager
def recomputing(network: nn.Module, *, active: bool) -> Iterator[None]:
    """While `active`, the network's stages keep their input alone and are run again in the backward pass.

    Stages are the entries of its module lists, or its children where it has none.
    """
    stages = _stages(network) if active else []
    for stage in stages:
        stage.forward = _forgetting(stage.forward)
    try:
        yield
    finally:
        for stage in stages:
            del stage.forward  # the method of its class comes to light again


def _forgetting(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        return checkpoint(forward, *arguments, use_reentrant=False)

    return run


def _stages(network: nn.Module) -> list[nn.Module]:
    """Distinct ones, none inside another."""
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    inner = {inside for outer in lists for entry in outer for inside in entry.modules()}
    found = [entry for outer in lists if outer not in inner for entry in outer]
    return list(dict.fromkeys(found or network.children()))


@contextmanager
def buffers_kept(network: nn.Module) -> Iterator[None]:
    """What passes through the network inside leaves no trace in its buffers (statistics of batch norm)."""
    before = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
