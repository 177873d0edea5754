import io

import numpy as np
import pytest
from rich.console import Console

from autoseg.data.readers import write_labels
from autoseg.evaluation.run import evaluate
from autoseg.evaluation.table import summary_rows, summary_table
from tests.brats import BRATS
from tests.evaluation.test_run import SHAPE, grid


@pytest.fixture
def evaluation(tmp_path):
    """Two cases, one without enhancing part."""
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[0] = 2
    for case in "ab":
        write_labels(tmp_path / "r" / f"{case}.nii.gz", values, grid())
        write_labels(tmp_path / "p" / f"{case}.nii.gz", values, grid())
        values[0, :2] = 4
    return evaluate(tmp_path / "p", tmp_path / "r", labels=BRATS, workers=1)


def test_regions_come_before_labels_and_each_kind_ends_with_its_mean(evaluation):
    assert [(kind, name) for kind, name, _ in summary_rows(evaluation)] == [
        *[("region", name) for name in ("WT", "TC", "ET", "mean")],
        *[("label", name) for name in ("necrotic", "edema", "enhancing", "mean")],
    ]


def test_the_table_fits_a_terminal_of_80_columns_and_says_what_did_not_count(evaluation):
    text = io.StringIO()
    Console(file=text, width=80).print(summary_table(evaluation))
    lines = text.getvalue().splitlines()
    whole = next(line for line in lines if line.strip().startswith("WT"))
    assert whole.split() == ["WT", "1.000", "±0.000", "1.000", "1.000", "1.000", "0.0", "±0.0", "0.0", "0.0", "2"]
    necrotic = next(line for line in lines if line.strip().startswith("necrotic "))
    assert necrotic.split() == ["necrotic", "–", "–", "1.000", "–", "–", "0.0", "0.0", "2"]
    assert "ET: Dice 1, Sens. 1, Prec. 1, HD95 mm 1" in text.getvalue()
