"""How often something is drawn, and from which values."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Range:
    """Uniform between `low` and `high`; with `two_sided`, below 1 and above 1 are equally likely."""

    low: float
    high: float
    two_sided: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        """A value from the range."""
        if not self.two_sided:
            return float(rng.uniform(self.low, self.high))
        below = rng.random() < 0.5
        return float(rng.uniform(self.low, 1) if below else rng.uniform(1, self.high))


@dataclass(frozen=True)
class Normal:
    """Normally distributed about `mean`."""

    mean: float
    deviation: float

    def draw(self, rng: np.random.Generator) -> float:
        """A value, which may lie anywhere."""
        return float(rng.normal(self.mean, self.deviation))


@dataclass(frozen=True)
class Chance:
    """How likely a sample takes part, how likely each of its channels then does, and where the value is drawn from."""

    sample: float
    values: Range | Normal
    channel: float = 1.0
