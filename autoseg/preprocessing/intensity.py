"""Scaling intensities, channel by channel."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autoseg.errors import ImageError
from autoseg.planning.plan import Normalisation

SMALLEST_DEVIATION = 1e-8
"""Constant channels are divided by this instead of zero."""

Channel = NDArray[np.float32]
Mask = NDArray[np.bool_]


def normalise(voxels: NDArray[np.float32], schemes: Sequence[Normalisation], *, mask: Mask) -> None:
    """Scale each channel of `voxels` (channel, z, y, x) by its scheme, in place.

    `mask` (z, y, x) tells the body from the empty space around it. Schemes with `use_mask` measure and change only what
    lies inside. Raises ImageError when "rgb_0_1" finds values outside 0 to 255.
    """
    for channel, scheme in zip(voxels, schemes, strict=True):
        _SCHEMES[scheme.scheme](channel, scheme, mask)


def absent_value(scheme: Normalisation) -> float:
    """What a channel that is zero everywhere, as an absent one is, becomes."""
    voxels = np.zeros((1, 1, 1, 1), dtype=np.float32)
    normalise(voxels, [scheme], mask=np.ones((1, 1, 1), dtype=bool))
    return float(voxels[0, 0, 0, 0])


def _zscore(channel: Channel, scheme: Normalisation, mask: Mask) -> None:
    if not scheme.use_mask:
        _standardise(channel)
    elif mask.any():
        inside = channel[mask]
        _standardise(inside)
        channel[mask] = inside


def _standardise(values: NDArray[np.float32]) -> None:
    """Mean 0 and deviation 1, in place."""
    values -= np.float32(values.mean(dtype=np.float64))
    # Row by row: sums of squares in single precision stay short, and no copy in double precision is made.
    squares = sum(float(np.dot(row, row)) for row in _rows(values))
    values /= np.float32(max((squares / values.size) ** 0.5, SMALLEST_DEVIATION))


def _rows(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    flat = values.reshape(-1)
    return [flat[start : start + 4096] for start in range(0, flat.size, 4096)]


def _ct(channel: Channel, scheme: Normalisation, mask: Mask) -> None:  # all schemes are called alike
    np.clip(channel, scheme.lower, scheme.upper, out=channel)
    channel -= np.float32(scheme.mean)
    channel /= np.float32(max(scheme.deviation, SMALLEST_DEVIATION))


def _none(channel: Channel, scheme: Normalisation, mask: Mask) -> None:
    """Leave the values as they are."""


def _rescale(channel: Channel, scheme: Normalisation, mask: Mask) -> None:
    channel -= channel.min()
    channel /= max(float(channel.max()), SMALLEST_DEVIATION)


def _rgb(channel: Channel, scheme: Normalisation, mask: Mask) -> None:
    low, high = float(channel.min()), float(channel.max())
    if low < 0 or high > 255:
        raise ImageError(
            f"a colour channel holds values from {low:g} to {high:g}, expected 0 to 255. "
            'Store the picture with 8 bits a channel, or plan with the normalisation "zscore".'
        )
    channel /= 255


_SCHEMES: Mapping[str, Callable[[Channel, Normalisation, Mask], None]] = {
    "zscore": _zscore,
    "ct": _ct,
    "none": _none,
    "rescale_0_1": _rescale,
    "rgb_0_1": _rgb,
}
