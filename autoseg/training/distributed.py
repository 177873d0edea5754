"""Processes that train one network together: each takes a share of every batch, and all hold the same weights.

torchrun starts them and says which is which in environment variables. Everything that all processes have to agree on
(when to stop, what the clock says) is exchanged here, so that the training loop reads as for one.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from autoseg.errors import AutosegError, RepeatedError, TrainingError
from autoseg.resources import available_cores

T = TypeVar("T")

LONGEST_STEP = timedelta(minutes=30)
"""A process that has not been heard of for so long in the middle of a training counts as lost."""
LONGEST_WAIT = timedelta(days=7)
"""How long processes wait for the first one to preprocess or to predict."""
SHORTLY = timedelta(seconds=5)
"""How long a process that is about to end waits for an answer."""
BUCKET = 1 << 23
"""Gradients sent at a time: enough that the time to answer does not count, few enough that sending begins early."""


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that train together; the default is one alone, which exchanges nothing."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def share(self, samples: int) -> range:
        """The numbers of the samples of a batch that this process takes; no two shares differ by more than one.

        Raises TrainingError where there are more processes than samples.
        """
        if self.size > samples:
            raise TrainingError(
                f"{self.size} processes for a batch of {samples}: each needs a sample. Start at most {samples} "
                f"(torchrun --nproc-per-node), or plan a larger batch: --set CONFIGURATION.batch_size={self.size}. "
                "Other GPUs can train other folds: autoseg_train CONFIGURATION -f 0 1 2 3 4"
            )
        return range(self.rank * samples // self.size, (self.rank + 1) * samples // self.size)

    def own_device(self, name: str) -> str:
        """The device of this process where the user names `name`: of several GPUs on a machine each takes its own.

        Raises TrainingError for a GPU with a number, which all of them would take.
        """
        if self.local_size == 1:
            return name
        if name.startswith("cuda:"):
            raise TrainingError(f"--device {name}: {self.local_size} processes would share it. Give --device cuda.")
        if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
            return f"cuda:{self.local_rank}"
        return name

    def own_threads(self, threads: int | None) -> int | None:
        """The threads of this process: as the user says, else its share of the cores; None leaves them as they are."""
        # torchrun starts its processes with one thread each.
        return max(1, available_cores() // self.local_size) if threads is None and self.size > 1 else threads

    def agreed(self, value: float) -> float:
        """What the first process holds."""
        if self.size == 1:
            return value
        found = torch.tensor(value, dtype=torch.float64)
        with _together():
            dist.broadcast(found, 0)
        return float(found)

    def any(self, value: bool) -> bool:
        """Whether it is true of any process."""
        return value if self.size == 1 else bool(self.summed(torch.tensor(int(value))))

    def largest(self, share: int) -> int:
        """The largest share of a batch that any process holds, where this one holds `share`."""
        return share if self.size == 1 else -(-int(self.summed(torch.tensor(share))) // self.size)

    def summed(self, values: Tensor) -> Tensor:
        """The sum of what all processes hold, without gradient."""
        if self.size == 1:
            return values
        values = values.detach().clone()
        with _together():
            dist.all_reduce(values)
        return values

    def pooled(self, values: Tensor) -> Tensor:
        """The sum of what all processes hold; its gradient reaches all of them."""
        if self.size == 1:
            return values
        found: Tensor = _SumOverRanks.apply(values.contiguous())  # type: ignore[no-untyped-call]
        return found

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes. Parameters without one must be the same in all."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        sent = []
        with _together():
            for bucket in _buckets(gradients):
                flat = torch.cat([gradient.flatten() for gradient in bucket])
                sent.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
            for bucket, flat, work in sent:
                if work is not None:
                    work.wait()
                parts = torch.split(flat, [gradient.numel() for gradient in bucket])
                for gradient, part in zip(bucket, parts, strict=True):
                    gradient.copy_(part.view_as(gradient) / self.size)

    def make_alike(self, network: nn.Module) -> None:
        """Give all processes the first one's parameters and buffers."""
        if self.size == 1:
            return
        with _together(), torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                first = tensor.detach().contiguous()
                dist.broadcast(first, 0)
                tensor.copy_(first)

    def clock(self) -> Callable[[], float]:
        """A clock that shows all processes the first one's time; all must look equally often."""
        return time.monotonic if self.size == 1 else lambda: self.agreed(time.monotonic())

    def wait(self) -> None:
        """Until all processes have come here, for days if need be."""
        if self.size > 1:
            with _together():
                dist.barrier(_patient_group())

    def first_then_others(self, function: Callable[[], T]) -> T:
        """`function` in the first process, then in the others, which find done what it does only once."""
        if self.is_first:
            found = function()
            self.wait()
            return found
        self.wait()
        return function()

    def only_first(self, function: Callable[[], object]) -> None:
        """`function` in the first process, while the others wait."""
        if self.is_first:
            function()
        self.wait()


ALONE = Ranks()


class _SumOverRanks(torch.autograd.Function):
    """The sum over all processes; as each of them depends on every summand, gradients are summed as well."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        with _together():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        with _together():
            dist.all_reduce(total)
        return total


@contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[Ranks]:
    """The place of this process among those that torchrun has started; it leaves them at the end of the block.

    Raises TrainingError when the others cannot be reached, and RepeatedError for an error inside the block that another
    process has met as well, and earlier: the user is to be told once.
    """
    size = int(environment.get("WORLD_SIZE", 1))
    if size == 1 or "RANK" not in environment:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _together():
        dist.init_process_group(backend, timeout=LONGEST_STEP)
    try:
        yield Ranks(
            rank=int(environment["RANK"]),
            size=size,
            local_rank=int(environment.get("LOCAL_RANK", 0)),
            local_size=int(environment.get("LOCAL_WORLD_SIZE", 1)),
        )
    except KeyboardInterrupt:  # all have agreed on it
        _leave()
        raise
    except AutosegError as error:
        if _is_known(str(error), environment):
            raise RepeatedError(str(error)) from error
        raise
    # Not after another error: others may wait for this process in vain, and it for them.
    _leave()


def _is_known(message: str, environment: Mapping[str, str]) -> bool:
    """Whether another process has asked this before with the same message; False where that cannot be found out."""
    try:
        # Not through the process group: the others may be waiting for something else in it.
        where = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        store = dist.TCPStore(*where, timeout=SHORTLY)  # type: ignore[attr-defined]
        asked: int = store.add(f"autoseg/{hashlib.sha256(message.encode()).hexdigest()}", 1)
        return asked > 1
    except (RuntimeError, KeyError, ValueError):  # torch.distributed's errors are RuntimeErrors
        return False


def _leave() -> None:
    _patience.clear()
    dist.destroy_process_group()


_patience: list[dist.ProcessGroup] = []


def _patient_group() -> dist.ProcessGroup:
    """A group of all processes that may keep each other waiting for days."""
    if not _patience:
        _patience.append(dist.new_group(backend="gloo", timeout=LONGEST_WAIT))
    return _patience[0]


@contextmanager
def _together() -> Iterator[None]:
    """What goes wrong between processes, as an error that says what to do."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # torch.distributed's errors are RuntimeErrors
        reason = str(error).strip().partition("\n")[0]
        raise TrainingError(
            f"another process of this training cannot be reached any more ({reason}). It has ended, and its own message "
            "says why, or its machine is gone. The last checkpoint is whole: run the same command again, with as many "
            "processes as there are now."
        ) from error


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one number type in groups of at least BUCKET elements."""
    for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):
        bucket: list[Tensor] = []
        for gradient in gradients:
            if gradient.dtype == dtype:
                bucket.append(gradient)
                if sum(one.numel() for one in bucket) >= BUCKET:
                    yield bucket
                    bucket = []
        if bucket:
            yield bucket
