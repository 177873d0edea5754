"""How long networks take whose results are taken little by little."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor


class Clock:
    """Seconds that networks took, where what they yield is taken little by little."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._device = device

    def timed(self, slabs: Iterator[Tensor]) -> Iterator[Tensor]:
        """The same slabs, their making timed."""
        while True:
            start = time.monotonic()
            slab = next(slabs, None)
            if self._device.type == "cuda":  # its work is only under way otherwise
                torch.cuda.synchronize(self._device)
            self.seconds += time.monotonic() - start
            if slab is None:
                return
            yield slab
