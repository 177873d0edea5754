"""Logits of a whole image, slab by slab, from networks that see one window of it at a time."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoseg.prediction.passes import Answer, Passes, Sweep
from autoseg.prediction.sums import Box, SlidingSums, reaches
from autoseg.prediction.windows import batched, deepest_reach, first_slice, margins, windows, with_flat_axes
from autoseg.progress import SILENT, Progress


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
    return (batch, output channel, *patch). The channels of each voice follow those of the mean where the sweep asks for it.

    A window that holds nothing but zeros costs no network pass after the first: the answer to all of them is the same.
    """
    padding = margins(image.shape[1:], with_flat_axes(sweep.patch_size, image.shape[1:]))
    padded = _padded(image, padding).to(sweep.device)
    inner = _moved(box or (slice(0, image.shape[2]), slice(0, image.shape[3])), padding[1:])
    tiles = [tile for tile in windows(padded.shape[1:], sweep.patch_size, step=sweep.step) if reaches(tile, inner)]
    batches = batched(tiles, sweep.batch_size * sweep.stacks(len(networks)))
    sums = SlidingSums(
        channels=sweep.sums(len(networks)),
        depth=deepest_reach(batches),
        box=inner,
        shape=padded.shape[1:],
        patch=sweep.patch_size,
        step=sweep.step,
        device=sweep.result_device or sweep.device,
    )
    before = padding[0][0]
    wanted = slice(before, before + image.shape[1])
    with Passes(sweep) as passes:
        answer = Answer(networks, sweep, passes)
        for batch in progress.track(batches, description=description, total=len(batches)):
            yield from _inside(sums, first_slice(batch[0]), wanted)
            places = [(slice(None), *tile) for tile in batch]
            for tile, logits in zip(batch, answer.to([padded[place] for place in places]), strict=True):
                sums.add(tile, logits)
    yield from _inside(sums, padded.shape[1], wanted)


def predict_logits(networks: Sequence[nn.Module], image: Tensor, sweep: Sweep) -> Tensor:
    """All logits (output channel, z, y, x) of `image` (channel, z, y, x) at once; see `finished_slabs`."""
    return torch.cat(list(finished_slabs(networks, image, sweep)), dim=1)


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
