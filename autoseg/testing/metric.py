"""What autoseg relies on in a metric."""

from collections.abc import Iterator, Sequence

import numpy as np

from autoseg.evaluation.metrics import METRICS, Comparison, Metric
from autoseg.evaluation.overlap import Counts
from autoseg.evaluation.surface import Mask
from autoseg.testing.promise import named, require


def check_metric(metric: str | Metric) -> None:
    """Try a metric on pairs of masks that agree, differ, touch nothing, are empty, and are flat."""
    chosen: Metric = named("metric", metric, METRICS)
    for name, predicted, reference in _pairs_of_masks():
        for is_flat in (False, True):
            masks = [mask[:1] if is_flat else mask for mask in (predicted, reference)]
            kept = [mask.copy() for mask in masks]
            value, again = (chosen(_comparison(masks, is_flat=is_flat)) for _ in range(2))
            case = f"{name}{', flat' if is_flat else ''}"
            require(value is None or isinstance(value, int | float), f"{case}: expected a number or None, found {value!r}")
            require(value is None or np.isfinite(value), f"{case}: what is undefined must be None, not {value}")
            require(value == again, f"{case}: the same masks must give the same number, found {value} and {again}")
            require(all(map(np.array_equal, masks, kept)), f"{case}: a metric must not change the masks")


def _pairs_of_masks() -> Iterator[tuple[str, Mask, Mask]]:
    nothing = np.zeros((4, 6, 8), dtype=np.bool_)
    left, right = nothing.copy(), nothing.copy()
    left[:2, 1:4, 1:4] = right[:3, 2:5, 5:7] = True
    pairs = {
        "equal masks": (left, left),
        "masks apart": (left, right),
        "overlapping masks": (left, left | right),
        "an empty prediction": (nothing, right),
        "an empty reference": (left, nothing),
        "two empty masks": (nothing, nothing),
        "masks that fill the image": (~nothing, ~nothing),
    }
    for name, (predicted, reference) in pairs.items():
        yield name, predicted, reference


def _comparison(masks: Sequence[Mask], *, is_flat: bool) -> Comparison:
    predicted, reference = masks
    counts = Counts(
        true_positive=int((predicted & reference).sum()),
        false_positive=int((predicted & ~reference).sum()),
        false_negative=int((~predicted & reference).sum()),
        true_negative=int((~predicted & ~reference).sum()),
    )
    return Comparison(predicted, reference, counts=counts, spacing_mm=(3.0, 1.0, 0.5), is_flat=is_flat)
