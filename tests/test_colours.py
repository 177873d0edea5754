import pytest

from autoseg.colours import contrast


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 0), (255, 255, 255), 21.0),
        ((255, 255, 255), (0, 0, 0), 21.0),
        ((7, 7, 7), (7, 7, 7), 1.0),
        ((255, 0, 0), (255, 255, 255), 1.05 / (0.2126 + 0.05)),
        ((0, 255, 0), (0, 0, 0), (0.7152 + 0.05) / 0.05),
    ],
)
def test_contrast_is_the_ratio_of_luminances(first, second, expected):
    assert contrast(first, second) == pytest.approx(expected)
