"""First-order statistics of a sequence inside a region."""

import numpy as np
from numpy.typing import NDArray

Features = dict[str, float | None]

INTENSITY_NAMES = ("mean", "deviation", "p10", "median", "p90", "skewness", "kurtosis")


def brain_scaled(channel: NDArray[np.generic], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Intensities (z, y, x) minus their mean in the brain, divided by their standard deviation there."""
    values = channel[brain].astype(np.float64)
    deviation = float(values.std()) or 1.0
    return np.asarray((channel.astype(np.float64) - values.mean()) / deviation, dtype=np.float32)


def intensity(values: NDArray[np.float32]) -> Features:
    """Statistics of the intensities (n,) of one region, in brain deviations; None where there are none.

    Skewness is the third standardised moment, kurtosis the fourth minus 3 (None for a single intensity).
    """
    if values.size == 0:
        return dict.fromkeys(INTENSITY_NAMES)
    exact = values.astype(np.float64)
    mean, deviation = float(exact.mean()), float(exact.std())
    p10, median, p90 = (float(value) for value in np.percentile(exact, (10, 50, 90)))
    # Rounding leaves a deviation of about 1e-8 where all intensities are equal; moments of that are noise.
    standard = (exact - mean) / deviation if deviation > 1e-6 else None
    return {
        "mean": mean,
        "deviation": deviation,
        "p10": p10,
        "median": median,
        "p90": p90,
        "skewness": None if standard is None else float((standard**3).mean()),
        "kurtosis": None if standard is None else float((standard**4).mean() - 3),
    }
