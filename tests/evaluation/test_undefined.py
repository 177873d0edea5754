"""What is undefined, and what challenges put there: as docs/evaluation.md has it."""

import re
from pathlib import Path

import numpy as np
import pytest

from autoseg.evaluation.metrics import METRICS, about
from autoseg.evaluation.scores import evaluate_case
from autoseg.evaluation.settings import CONVENTIONS, Settings
from tests.brats import BRATS

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"
NOTHING = np.zeros((8, 8, 8), dtype=np.uint8)
BLOCK = np.pad(np.full((4, 4, 4), 2, dtype=np.uint8), 2)  # 64 voxels, so that it counts as a lesion
SITUATIONS = {
    "neither": (NOTHING, NOTHING),
    "prediction": (BLOCK, NOTHING),
    "reference": (NOTHING, BLOCK),
    "both": (BLOCK, BLOCK),
    "everywhere": (NOTHING + 2, NOTHING + 2),
}
DISTANCE = {"neither", "prediction", "reference"}
UNDEFINED = {
    "dice": {"neither"},
    "iou": {"neither"},
    "accuracy": set(),
    "sensitivity": {"neither", "prediction"},
    "specificity": {"everywhere"},
    "precision": {"neither", "reference"},
    "nsd": {"neither"},
    "hd_mm": DISTANCE,
    "hd95_mm": DISTANCE,
    "assd_mm": DISTANCE,
    "predicted_ml": set(),
    "reference_ml": set(),
    "difference_ml": set(),
    "lesion_dice_2023": {"neither"},
    "lesion_hd95_2023_mm": {"neither"},
    "lesion_f1_2023": {"neither"},
    "lesion_dice_2026": {"neither"},
    "lesion_hd95_2026_mm": DISTANCE,
    "lesion_f1_2026": {"neither"},
}


def scores(situation, convention="none"):
    """The metrics of edema, which is in both maps, in one of them, or nowhere."""
    settings = Settings(undefined=CONVENTIONS[convention])
    case = evaluate_case(*SITUATIONS[situation], case_id="a", scheme=BRATS, spacing_mm=(1.0, 1.0, 1.0), settings=settings)
    return case.labels["edema"].metrics


def documented(convention):
    """The values of a convention in the table of the page: overlap and mm in neither mask, and in one of them."""
    line = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{convention}` |"))
    neither, one = (re.fullmatch(r" (\d), and ([\d.]+) mm ", cell).groups() for cell in line.split("|")[2:4])
    return tuple(map(float, neither)), tuple(map(float, one))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_is_undefined_when(situation):
    assert set(UNDEFINED) == set(METRICS)
    found = {name for name, value in scores(situation).items() if value is None}
    assert found == {name for name, situations in UNDEFINED.items() if situation in situations}


@pytest.mark.parametrize("convention", ["brats2020", "brats2023"])
def test_challenges_put_documented_values_there_and_leave_the_rest(convention):
    neither, one = documented(convention)
    for situation in ("neither", "prediction", "reference", "both"):
        plain, replaced = scores(situation), scores(situation, convention)
        overlap, distance_mm = neither if situation == "neither" else one
        for name, value in plain.items():
            instead = overlap if about(name).kind == "overlap" else distance_mm
            assert replaced[name] == (instead if value is None else value), (situation, name)


def test_every_metric_and_convention_stands_on_the_page():
    text = PAGE.read_text()
    assert [name for name in (*METRICS, *CONVENTIONS) if f"`{name}`" not in text] == []
