"""Changes of what a previous stage found, so that a cascade learns to correct it rather than to copy it.

Each is a frozen value that can be kept, compared and applied again. `apply` changes masks (label, z, y, x), one per
foreground label and 1 inside it, in place, on whatever device they lie. What is changed, how often and how far follows
nnU-Net (Isensee et al. 2021).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from autoseg.augmentation.spatial import Box

Operation = Literal["dilate", "erode", "close", "open"]

LARGEST_REMOVED = 0.15
"""A component that fills this share of the patch or more is never removed."""


class MaskStep(Protocol):
    """A drawn change of the previous stage's masks."""

    def apply(self, masks: Tensor) -> None:
        """Change `masks` (label, z, y, x) in place."""
        ...


@dataclass(frozen=True)
class Reshape:
    """The mask of one label dilated, eroded, closed or opened with a ball; where it grows, other labels give way."""

    label: int
    operation: Operation
    radius: int

    def apply(self, masks: Tensor) -> None:
        """Reshape the mask inside the box that the operation can reach."""
        mask = masks[self.label] > 0
        if not mask.any():
            return
        # One more than the radius: what lies just outside counts when the dilated mask is eroded again.
        box = _box_around(mask, margin=self.radius + 1)
        before = mask[box]
        after = OPERATIONS[self.operation](before, self.radius)
        all_labels = (slice(None), *box)
        masks[all_labels].masked_fill_(after & ~before, 0)
        masks[self.label][box] = after.to(masks.dtype)


@dataclass(frozen=True)
class RemoveComponent:
    """One connected component of a label taken away; `choice` (0 to 1) picks it among those that are small enough."""

    label: int
    choice: float

    def apply(self, masks: Tensor) -> None:
        """Remove it; nothing happens where no component is small enough."""
        from scipy.ndimage import label

        found, count = label((masks[self.label] > 0).cpu().numpy(), structure=np.ones((3, 3, 3)))
        sizes = np.bincount(found.ravel(), minlength=count + 1)[1:]
        small = np.flatnonzero(sizes < LARGEST_REMOVED * found.size)
        if len(small):
            chosen = small[int(self.choice * len(small))] + 1
            masks[self.label].masked_fill_(torch.from_numpy(found == chosen).to(masks.device), 0)


def dilated(mask: Tensor, radius: int) -> Tensor:
    """All voxels within `radius` voxels of the mask (z, y, x): dilation with the digital ball of that radius.

    Computed as a squared distance, cut off at the radius, one axis after the other: the cost grows with the radius, not
    with its cube.
    """
    distance = (~mask).to(torch.int16).mul_(radius**2 + 1)
    for axis, size in enumerate(mask.shape):
        nearest = distance.clone()
        for offset in range(1, min(radius, size - 1) + 1):
            inner = size - offset
            further = distance + offset**2
            for to, source in ((offset, 0), (0, offset)):
                view = nearest.narrow(axis, to, inner)
                torch.minimum(view, further.narrow(axis, source, inner), out=view)
        distance = nearest
    return distance <= radius**2


def eroded(mask: Tensor, radius: int) -> Tensor:
    """Voxels of the mask with nothing but mask within `radius`; what lies beyond the border takes nothing away."""
    return ~dilated(~mask, radius)


OPERATIONS: Mapping[Operation, Callable[[Tensor, int], Tensor]] = {
    "dilate": dilated,
    "erode": eroded,
    "close": lambda mask, radius: eroded(dilated(mask, radius), radius),
    "open": lambda mask, radius: dilated(eroded(mask, radius), radius),
}


def _box_around(mask: Tensor, *, margin: int) -> Box:
    """The box around a mask that is not empty, with so many more voxels on each side where there are any."""
    spans = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = torch.nonzero(mask.any(dim=others[1]).any(dim=others[0]))[:, 0]
        spans.append(slice(max(int(filled[0]) - margin, 0), int(filled[-1]) + 1 + margin))
    z, y, x = spans
    return z, y, x
