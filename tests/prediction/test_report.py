from dataclasses import replace
from pathlib import Path

import pytest

from autoseg.artefacts import save
from autoseg.data.labels import Label, LabelScheme
from autoseg.prediction.report import DECISIVE, REPORT_FILE, PredictionReport, earlier_report, new_report
from autoseg.prediction.settings import Settings

LABELS = LabelScheme(labels=(Label(name="background", value=0), Label(name="lesion", value=1)))
SETTINGS = Settings(step=0.5, mirroring="all", precision="fp32", device="cpu")


def begun(settings: Settings = SETTINGS, *, weights: str = "abc", rules: tuple[str, ...] = ()) -> PredictionReport:
    return new_report(
        settings,
        models=[Path("model")],
        configurations=["3d_fullres"],
        folds=["0"],
        channels=["MR"],
        labels=LABELS,
        model_digest=weights,
        rules=rules,
    )


OTHERWISE = {
    "made_from": begun(weights="def"),
    "step": begun(replace(SETTINGS, step=0.8)),
    "mirroring": begun(replace(SETTINGS, mirroring="two")),
    "single_window": begun(replace(SETTINGS, single_window=True)),
    "precision": begun(replace(SETTINGS, precision="bf16")),
    "rules": begun(rules=("largest_component of lesion",)),
}


def test_the_report_of_an_equal_run_is_gone_on_with_wherever_and_whenever_it_ran(tmp_path: Path) -> None:
    earlier = begun(replace(SETTINGS, device="cuda")).model_copy(update={"seconds": 3.0})
    save(earlier, tmp_path / REPORT_FILE)
    assert earlier_report(tmp_path, begun()) == earlier


@pytest.mark.parametrize("field", sorted(DECISIVE))
def test_the_report_of_a_run_that_predicted_otherwise_is_not(tmp_path: Path, field: str) -> None:
    save(OTHERWISE[field], tmp_path / REPORT_FILE)
    assert earlier_report(tmp_path, begun()) == begun()


def test_neither_is_one_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / REPORT_FILE).write_text("{")
    assert earlier_report(tmp_path, begun()) == begun()
