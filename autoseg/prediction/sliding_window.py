"""Logits of a whole image, slab by slab, from networks that see one window of it at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoseg.prediction.sums import Box, SlidingSums, reaches
from autoseg.prediction.windows import deepest_reach, first_slice, margins, windows, with_flat_axes
from autoseg.progress import SILENT, Progress
from autoseg.training.device import Precision

CPU = torch.device("cpu")
FULL_PRECISION = Precision("fp32")


@dataclass(frozen=True)
class Exchanged:
    """The channels that take each other's place in a view mirrored along `axis` (of the patch), as left and right do.

    Channel `inputs[i]` of the input, and `outputs[i]` of what the network says, stands where channel i was.
    """

    axis: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Sweep:
    """How windows go over an image and what is averaged in each.

    Windows of `patch_size` (voxels; a patch with two axes goes slice by slice) overlap by 1 - `step` of it at least.
    Each is seen once for every entry of `mirrorings`, which are subsets of the patch's axes. `precision` is that of the
    networks' arithmetic on `device`, `batch_size` the windows in a pass. Sums are float32 and lie on `result_device`
    (default: `device`). `exchanged` says which channels a mirroring exchanges.
    """

    patch_size: tuple[int, ...]
    output_channels: int
    step: float = 0.5
    mirrorings: tuple[tuple[int, ...], ...] = ((),)
    device: torch.device = CPU
    result_device: torch.device | None = None
    precision: Precision = FULL_PRECISION
    batch_size: int = 1
    exchanged: Exchanged | None = None


# Not inference_mode: under it autocast would convert the weights anew for every window.
@torch.no_grad()
def finished_slabs(
    networks: Sequence[nn.Module],
    image: Tensor,
    sweep: Sweep,
    *,
    box: Box | None = None,
    progress: Progress = SILENT,
    description: str = "windows",
) -> Iterator[Tensor]:
    """Logits (output channel, some slices, y, x), float32, from the first slice to the last, each as soon as it is known.

    They are averaged over windows, mirrorings and `networks`, and known when no further window reaches them, so memory
    holds the sums of as many slices as a window has. `image` is (channel, z, y, x); `box` (default: all) is the part of
    every slice that is wanted, and windows that lie outside it are left out. Networks take (batch, channel, *patch) and
    return (batch, output channel, *patch).

    A window that holds nothing but zeros costs no network pass after the first: the answer to all of them is the same.
    """
    padding = margins(image.shape[1:], with_flat_axes(sweep.patch_size, image.shape[1:]))
    padded = _padded(image, padding).to(sweep.device)
    inner = _moved(box or (slice(0, image.shape[2]), slice(0, image.shape[3])), padding[1:])
    tiles = [tile for tile in windows(padded.shape[1:], sweep.patch_size, step=sweep.step) if reaches(tile, inner)]
    batches = [tiles[first : first + sweep.batch_size] for first in range(0, len(tiles), sweep.batch_size)]
    sums = SlidingSums(
        channels=sweep.output_channels,
        depth=deepest_reach(batches),
        box=inner,
        shape=padded.shape[1:],
        patch=sweep.patch_size,
        step=sweep.step,
        device=sweep.result_device or sweep.device,
    )
    before = padding[0][0]
    wanted = slice(before, before + image.shape[1])
    answer = _Answer(networks, sweep)
    for batch in progress.track(batches, description=description, total=len(batches)):
        yield from _inside(sums, first_slice(batch[0]), wanted)
        places = [(slice(None), *tile) for tile in batch]
        for tile, logits in zip(batch, answer.to([padded[place] for place in places]), strict=True):
            sums.add(tile, logits)
    yield from _inside(sums, padded.shape[1], wanted)


def predict_logits(networks: Sequence[nn.Module], image: Tensor, sweep: Sweep) -> Tensor:
    """All logits (output channel, z, y, x) of `image` (channel, z, y, x) at once; see `finished_slabs`."""
    return torch.cat(list(finished_slabs(networks, image, sweep)), dim=1)


class _Answer:
    """The mean logits of several networks and mirrorings; remembers the one to a window of zeros."""

    def __init__(self, networks: Sequence[nn.Module], sweep: Sweep) -> None:
        self._networks = networks
        self._sweep = sweep
        self._to_zeros: Tensor | None = None

    def to(self, tiles: Sequence[Tensor]) -> list[Tensor]:
        """Logits (output channel, *patch) of each tile (channel, *patch), in their order."""
        is_blank = [not bool(tile.any()) for tile in tiles]
        filled = [tile for tile, blank in zip(tiles, is_blank, strict=True) if not blank]
        found = iter(self._mean(torch.stack(filled)) if filled else ())
        return [self._blank(tile) if blank else next(found) for tile, blank in zip(tiles, is_blank, strict=True)]

    def _blank(self, tile: Tensor) -> Tensor:
        if self._to_zeros is None:
            self._to_zeros = self._mean(torch.zeros_like(tile)[None])[0]
        return self._to_zeros

    def _mean(self, tiles: Tensor) -> Tensor:
        total: Tensor | None = None
        # Around the passes alone: whoever takes the slabs computes in float32. Weights are converted once in here.
        with self._sweep.precision.autocast(self._sweep.device):
            for axes in self._sweep.mirrorings:
                # The batch and channel axes come before the spatial ones.
                flips = [axis + 2 for axis in axes]
                seen = tiles.flip(flips) if flips else tiles
                exchanged = self._sweep.exchanged
                if exchanged is None or exchanged.axis not in axes:
                    order: Sequence[int] = range(self._sweep.output_channels)
                else:
                    seen, order = seen[:, exchanged.inputs], exchanged.outputs
                for network in self._networks:
                    logits = network(seen)
                    total = _added(total, logits.clone() if logits is tiles else logits, flips, order)
        assert total is not None, "there is a network and a mirroring"
        return total.div_(len(self._sweep.mirrorings) * len(self._networks))


def _added(total: Tensor | None, logits: Tensor, flips: list[int], order: Sequence[int]) -> Tensor:
    """The sum so far and `logits` (batch, channel, *patch), mirrored back and with channels in `order`, in float32."""
    if total is None:
        picked = logits if tuple(order) == tuple(range(len(order))) else logits[:, tuple(order)]
        return (picked.flip(flips) if flips else picked).float()
    for channel, source in enumerate(order):  # mirrored copies of all channels would be the largest tensors there are
        one = logits[:, source : source + 1]
        total[:, channel : channel + 1].add_(one.flip(flips) if flips else one)
    return total


def _inside(sums: SlidingSums, until: int, wanted: slice) -> Iterator[Tensor]:
    """The finished slabs before `until`, without slices that were only added around the image."""
    first = sums.first
    for slab in sums.finished(until):
        start, stop = max(wanted.start - first, 0), min(wanted.stop - first, slab.shape[1])
        first += slab.shape[1]
        if start < stop:
            yield slab[:, start:stop]


def _padded(image: Tensor, padding: Sequence[tuple[int, int]]) -> Tensor:
    amounts = [count for pair in reversed(padding) for count in pair]
    return F.pad(image.float(), amounts) if any(amounts) else image.float()


def _moved(box: Box, padding: Sequence[tuple[int, int]]) -> Box:
    """The box counted from the corner of the padded image."""
    y, x = (slice(side.start + before, side.stop + before) for side, (before, _) in zip(box, padding, strict=True))
    return y, x


def network_axes(image_axes: Sequence[int], dimensions: int) -> list[int]:
    """Image axes (0 = z) counted as axes of a network with so many dimensions."""
    return [axis - (3 - dimensions) for axis in sorted(image_axes) if axis >= 3 - dimensions]
