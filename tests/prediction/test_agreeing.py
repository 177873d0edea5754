import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoseg.errors import PredictionError
from autoseg.prediction.agreeing import ONE, agreed, as_probabilities, shares

PROBABILITIES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6)


def test_weights_are_shares_of_one_and_without_any_all_members_count_the_same() -> None:
    assert shares((2, 1, 1), 3) == (0.5, 0.25, 0.25)
    assert shares(None, 4) == (0.25,) * 4


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0, 2.0), "--weights 1 2: 2 weights for 3 members"),
        ((1.0, -2.0, 1.0), "found -2, expected numbers above 0"),
        ((1.0, 0.0, 1.0), "found 0, expected numbers above 0"),
        ((1.0, math.nan, 1.0), "found nan"),
        ((1.0, math.inf, 1.0), "found inf"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: tuple[float, ...], message: str) -> None:
    with pytest.raises(PredictionError, match=message):
        shares(weights, 3)


@given(values=PROBABILITIES, random=st.randoms())
def test_the_mean_is_the_same_in_any_order_and_within_rounding_that_of_exact_numbers(values, random) -> None:
    weights = [random.uniform(0.01, 5) for _ in values]
    parts = [torch.tensor([value], dtype=torch.float32) for value in values]
    found = agreed(parts, shares(weights, len(values)))
    order = random.sample(range(len(values)), len(values))
    assert torch.equal(found, agreed([parts[i] for i in order], shares([weights[i] for i in order], len(values))))
    expected = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights)
    assert as_probabilities(found).item() == pytest.approx(expected, abs=2e-7)


def test_certainty_of_all_members_stays_certainty_within_what_float32_can_tell() -> None:
    found = agreed([torch.ones(1)] * 3, shares((1, 1, 1), 3))
    assert abs(found.item() - ONE) < ONE * 1e-7
