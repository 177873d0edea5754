"""What networks say of windows: the mean over networks and mirrorings, several passes side by side."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from autoseg.prediction.threads import one_thread
from autoseg.training.device import Precision

CPU = torch.device("cpu")
FULL_PRECISION = Precision("fp32")

Apart = Literal["networks", "mirrorings"]
"""Whose logits are kept one by one beside their mean."""


@dataclass(frozen=True)
class Exchanged:
    """The channels that take each other's place in a view mirrored along `axis` (of the patch), as left and right do.

    Channel `inputs[i]` of the input, and `outputs[i]` of what the network says, stands where channel i was.
    """

    axis: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def voices(apart: Apart | None, *, networks: int, mirrorings: int) -> int:
    """How many means are kept beside that of all passes; 0 where it would be the only one."""
    count = {"networks": networks, "mirrorings": mirrorings, None: 0}[apart]
    return count if count > 1 else 0


@dataclass(frozen=True)
class Sweep:
    """How windows go over an image and what is averaged in each.

    Windows of `patch_size` (voxels; a patch with two axes goes slice by slice) overlap by 1 - `step` of it at least.
    Each is seen once for every entry of `mirrorings`, which are subsets of the patch's axes. `precision` is that of the
    networks' arithmetic on `device`, `batch_size` the windows in a pass, `workers` the passes at a time. Sums are float32
    and lie on `result_device` (default: `device`). `exchanged` says which channels a mirroring exchanges. `apart` asks for
    the logits of each network (over all mirrorings) or of each mirroring (over all networks) after the mean of all.
    """

    patch_size: tuple[int, ...]
    output_channels: int
    step: float = 0.5
    mirrorings: tuple[tuple[int, ...], ...] = ((),)
    device: torch.device = CPU
    result_device: torch.device | None = None
    precision: Precision = FULL_PRECISION
    batch_size: int = 1
    workers: int = 1
    exchanged: Exchanged | None = None
    apart: Apart | None = None

    def voices(self, networks: int) -> int:
        """How many means are kept apart, see `voices`."""
        return voices(self.apart, networks=networks, mirrorings=len(self.mirrorings))

    def sums(self, networks: int) -> int:
        """Channels of what is handed on: the mean of all, then each voice."""
        return self.output_channels * (1 + self.voices(networks))

    def stacks(self, networks: int) -> int:
        """How many batches of windows are under way together, so that every worker has a pass to make."""
        return -(-self.workers // (networks * len(self.mirrorings)))


Pass = tuple[int, tuple[int, ...], nn.Module]
"""Which stack of windows goes through which network, mirrored along which axes of the patch."""


class Passes:
    """Passes through networks, several at a time in threads of their own where there are `workers`.

    One thread for each pass is faster than all threads for one pass: they never wait for each other.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._threads = torch.get_num_threads()
        several = sweep.workers > 1
        self._pool = ThreadPoolExecutor(sweep.workers, "pass", torch.set_num_threads, (1,)) if several else None

    def __call__(self, stacks: Sequence[Tensor], work: Sequence[Pass]) -> Iterator[Tensor]:
        """Logits (batch, output channel, *patch) of each pass, in their order and as mirrored as its input was.

        While a result is taken, every worker has the next pass to make; no more are made ahead of what is taken.
        """
        one = partial(self._logits, stacks)
        if self._pool is None:
            yield from map(one, work)
            return
        under_way: deque[Future[Tensor]] = deque()
        with one_thread(True):
            for each in work:
                under_way.append(self._pool.submit(one, each))
                if len(under_way) > self._sweep.workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()

    def __enter__(self) -> "Passes":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            torch.set_num_threads(self._threads)  # that of the last thread begun is torch's default for new ones, too

    @torch.no_grad()
    def _logits(self, stacks: Sequence[Tensor], one: Pass) -> Tensor:
        index, axes, network = one
        # The batch and channel axes come before the spatial ones.
        flips = [axis + 2 for axis in axes]
        seen = stacks[index].flip(flips) if flips else stacks[index]
        exchanged = self._sweep.exchanged
        if exchanged is not None and exchanged.axis in axes:
            seen = seen[:, exchanged.inputs]
        # Around the pass alone: whoever takes the slabs computes in float32.
        with self._sweep.precision.autocast(self._sweep.device):
            logits: Tensor = network(seen)
        # Channel by channel is how they are added up.
        return logits.clone() if logits is seen else logits.contiguous()


class Answer:
    """The mean logits of networks and mirrorings, and those of each voice; remembers the one to a window of zeros."""

    def __init__(self, networks: Sequence[nn.Module], sweep: Sweep, passes: Passes) -> None:
        self._sweep = sweep
        self._passes = passes
        self._seen_by = [(axes, network) for axes in sweep.mirrorings for network in networks]
        self._voices = sweep.voices(len(networks))
        self._voice_of: dict[object, int] = {}
        if self._voices:
            each = [id(network) for network in networks] if sweep.apart == "networks" else sweep.mirrorings
            self._voice_of = {key: index for index, key in enumerate(each)}
        self._to_zeros: Tensor | None = None

    def to(self, tiles: Sequence[Tensor]) -> list[Tensor]:
        """Logits (output channel of the mean and of each voice, *patch) of each tile (channel, *patch), in their order."""
        is_blank = [not bool(tile.any()) for tile in tiles]
        filled = [tile for tile, blank in zip(tiles, is_blank, strict=True) if not blank]
        found = iter(self._means(filled))
        return [self._blank(tile) if blank else next(found) for tile, blank in zip(tiles, is_blank, strict=True)]

    def _blank(self, tile: Tensor) -> Tensor:
        if self._to_zeros is None:
            (self._to_zeros,) = self._means([torch.zeros_like(tile)])
        return self._to_zeros

    def _means(self, tiles: Sequence[Tensor]) -> list[Tensor]:
        size = self._sweep.batch_size
        stacks = [torch.stack(list(tiles[first : first + size])) for first in range(0, len(tiles), size)]
        totals: list[Tensor | None] = [None] * len(stacks)
        voices: list[list[Tensor | None]] = [[None] * self._voices for _ in stacks]
        work = [(index, axes, network) for index in range(len(stacks)) for axes, network in self._seen_by]
        for (index, axes, network), logits in zip(work, self._passes(stacks, work), strict=True):
            order = _channel_order(self._sweep, axes)
            totals[index] = _added(totals[index], logits, axes, order)
            if self._voices:
                voice = self._voice_of[id(network) if self._sweep.apart == "networks" else axes]
                before = voices[index][voice]  # a sum that is begun may be the very tensor of `totals`
                added = _added(before, logits, axes, order)
                voices[index][voice] = added.clone() if before is None else added
        return [one for total, apart in zip(totals, voices, strict=True) for one in self._joined(total, apart)]

    def _joined(self, total: Tensor | None, voices: Sequence[Tensor | None]) -> Tensor:
        """The means (batch, channel of all and of each voice, *patch) of sums over passes."""
        assert total is not None, "every stack goes through every network"
        total.div_(len(self._seen_by))
        if not voices:
            return total
        each = [voice.div_(len(self._seen_by) // len(voices)) for voice in voices if voice is not None]
        return torch.cat([total, *each], dim=1)


def _channel_order(sweep: Sweep, axes: tuple[int, ...]) -> Sequence[int]:
    """Which channel of a pass mirrored along `axes` belongs where."""
    if sweep.exchanged is None or sweep.exchanged.axis not in axes:
        return range(sweep.output_channels)
    return sweep.exchanged.outputs


def _added(total: Tensor | None, logits: Tensor, axes: tuple[int, ...], order: Sequence[int]) -> Tensor:
    """The sum so far and `logits` (batch, channel, *patch), mirrored back and with channels in `order`, in float32."""
    flips = [axis + 2 for axis in axes]
    if total is None:
        picked = logits if tuple(order) == tuple(range(len(order))) else logits[:, tuple(order)]
        return (picked.flip(flips) if flips else picked).float()
    for channel, source in enumerate(order):  # mirrored copies of all channels would be the largest tensors there are
        one = logits[:, source : source + 1]
        total[:, channel : channel + 1].add_(one.flip(flips) if flips else one)
    return total
