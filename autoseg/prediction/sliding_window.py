"""Logits of a whole image, from networks that see one window of it at a time."""

import math
from collections.abc import Sequence
from itertools import chain, combinations, product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from autoseg.progress import SILENT, Progress
from autoseg.training.device import Precision

CPU = torch.device("cpu")
FULL_PRECISION = Precision("fp32")

Window = tuple[slice | int, ...]
"""One index per spatial axis (z, y, x): a slice along the network's axes, a number along an axis it does not have."""


def window_starts(size: int, patch: int, *, step: float) -> tuple[int, ...]:
    """First voxels of the windows along an axis of `size` voxels: evenly spread, at most `patch * step` apart.

    The first window starts at 0 and the last ends with the axis; one window where the axis is no longer than the patch.
    Source: nnU-Net's sliding window (Isensee et al., Nature Methods 18, 2021).
    """
    if size <= patch:
        return (0,)
    count = math.ceil((size - patch) / max(1.0, patch * step)) + 1
    stride = (size - patch) / (count - 1)
    return tuple(round(stride * index) for index in range(count))


def importance(patch: int) -> NDArray[np.float64]:
    """Weights (patch,) of the voxels along one axis of a window: a Gaussian of deviation patch / 8, 1 at the centre.

    A voxel's weight is the product over the axes. None is zero: the ends lie four deviations out.
    """
    offsets = np.arange(patch) - patch // 2
    return np.exp(-0.5 * (offsets / (patch / 8)) ** 2)


def margins(shape: Sequence[int], patch: Sequence[int]) -> list[tuple[int, int]]:
    """Voxels to add before and after each axis so that a patch fits; an odd one goes after."""
    missing = [max(0, wanted - size) for size, wanted in zip(shape, patch, strict=True)]
    return [(count // 2, count - count // 2) for count in missing]


def mirrorings(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every subset of `axes`, the empty one first."""
    return list(chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)))


def windows(shape: Sequence[int], patch: Sequence[int], *, step: float) -> list[Window]:
    """The windows that cover an image of `shape` (z, y, x), which is no smaller than the patch.

    A patch with two axes (y, x) goes through every slice.
    """
    flat_axes = len(shape) - len(patch)
    slices = [range(size) for size in shape[:flat_axes]]
    starts = [window_starts(size, edge, step=step) for size, edge in zip(shape[flat_axes:], patch, strict=True)]
    spans = [[slice(start, start + edge) for start in axis] for axis, edge in zip(starts, patch, strict=True)]
    return list(product(*slices, *spans))


# Not inference_mode: under it autocast would convert the weights anew for every window.
@torch.no_grad()
def predict_logits(
    networks: Sequence[nn.Module],
    image: Tensor,
    *,
    patch_size: Sequence[int],
    output_channels: int,
    step: float = 0.5,
    mirror_axes: Sequence[int] = (),
    device: torch.device = CPU,
    result_device: torch.device | None = None,
    precision: Precision = FULL_PRECISION,
    batch_size: int = 1,
    progress: Progress = SILENT,
    description: str = "windows",
) -> Tensor:
    """Logits (output_channels, z, y, x), float32, averaged over windows, mirrorings and `networks`.

    `image` is (channel, z, y, x). Networks take (batch, channel, *patch) and return (batch, output channel, *patch); a
    patch with two axes goes slice by slice. Windows overlap by 1 - `step` of the patch at least. `mirror_axes` counts
    image axes (0 = z); one that the patch does not have is passed over. `precision` is that of the networks' arithmetic;
    sums are float32 and lie on `result_device` (default: `device`).

    A window that holds nothing but zeros costs no network pass after the first: the answer to all of them is the same.
    """
    padding = margins(image.shape[1:], _with_flat_axes(patch_size, image.shape[1:]))
    padded = F.pad(image.float(), [count for pair in reversed(padding) for count in pair]).to(device)
    answer = _Answer(networks, mirrorings(_network_axes(mirror_axes, len(patch_size))))
    total = torch.zeros(output_channels, *padded.shape[1:], device=result_device or device)
    weight = _outer([importance(edge) for edge in patch_size]).to(total.device)
    tiles = windows(padded.shape[1:], patch_size, step=step)
    batches = [tiles[first : first + batch_size] for first in range(0, len(tiles), batch_size)]
    # One context for all windows: it keeps the weights that it has converted.
    with precision.autocast(device):
        for batch in progress.track(batches, description=description, total=len(batches)):
            places = [(slice(None), *tile) for tile in batch]
            for place, logits in zip(places, answer.to([padded[place] for place in places]), strict=True):
                total[place].addcmul_(logits.to(total.device), weight)
    _divide_by_weights(total, patch_size, step=step)
    for axis, ((before, _), size) in enumerate(zip(padding, image.shape[1:], strict=True), start=1):
        total = total.narrow(axis, before, size)
    return total


class _Answer:
    """The mean logits of several networks and mirrorings; remembers the one to a window of zeros."""

    def __init__(self, networks: Sequence[nn.Module], subsets: Sequence[tuple[int, ...]]) -> None:
        self._networks = networks
        self._subsets = subsets
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
        for axes in self._subsets:
            # The batch and channel axes come before the spatial ones.
            flips = [axis + 2 for axis in axes]
            seen = tiles.flip(flips)
            logits = self._networks[0](seen).float()
            for network in self._networks[1:]:
                logits = logits + network(seen).float()
            logits = logits.flip(flips)
            total = logits if total is None else total.add_(logits)
        assert total is not None, "the empty mirroring is always there"
        return total.div_(len(self._subsets) * len(self._networks))


def _with_flat_axes(patch_size: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """The patch with one entry per image axis, 1 where the network has none."""
    return (1,) * (len(shape) - len(patch_size)) + tuple(patch_size)


def _network_axes(image_axes: Sequence[int], dimensions: int) -> list[int]:
    """Image axes (0 = z) counted as axes of a network with so many dimensions."""
    return [axis - (3 - dimensions) for axis in sorted(image_axes) if axis >= 3 - dimensions]


def _outer(vectors: Sequence[NDArray[np.float64]]) -> Tensor:
    """The product over the axes, float32, one axis per vector."""
    product_over_axes = np.ones(())
    for vector in vectors:
        product_over_axes = product_over_axes[..., None] * vector
    return torch.from_numpy(product_over_axes.astype(np.float32))


def _divide_by_weights(total: Tensor, patch_size: Sequence[int], *, step: float) -> None:
    """Divide the weighted sum (channel, z, y, x) in place by the sum of the weights.

    Windows form a grid and their weights are products, so the sum of weights is one too: no volume of it is needed.
    """
    for axis, edge in enumerate(reversed(patch_size), start=1):
        size = total.shape[-axis]
        weights = np.zeros(size)
        for start in window_starts(size, edge, step=step):
            weights[start : start + edge] += importance(edge)
        shape = [size] + [1] * (axis - 1)
        total.div_(torch.from_numpy(weights.astype(np.float32)).reshape(shape).to(total.device))
