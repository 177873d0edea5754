import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from autoseg.cli.ensemble import main
from tests.prediction.test_combining import members


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return members(tmp_path_factory.mktemp("ensemble"))


def called(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_folders_are_averaged_with_weights_that_may_stand_before_them(tmp_path: Path, folders: list[Path]) -> None:
    done = called("--weights", 2, 1, 1, *folders, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "2 of 2 cases" in done.stdout
    assert f"0.500  {folders[0]}" in done.stdout
    lines = called(*folders, "-o", tmp_path / "out", "--weights", "2,1,1", "--json", "--skip-existing").stdout.splitlines()
    assert [json.loads(line)["skipped"] for line in lines] == [True, True]


def test_probabilities_and_uncertainty_are_written_beside_and_cases_to_look_at_are_named(
    tmp_path: Path, folders: list[Path]
) -> None:
    done = called(*folders, "-o", tmp_path / "out", "--classes", "bright", 9, "--uncertainty")
    assert done.exit_code == 0, done.output
    kinds = [f"case{index}_{kind}.nii.gz" for index in (0, 1) for kind in ("entropy", "probabilities", "variance")]
    there = sorted(file.name for file in (tmp_path / "out").iterdir() if "_" in file.name)
    assert there == kinds
    assert (tmp_path / "out" / "uncertainty.csv").exists()
    report = json.loads((tmp_path / "out" / "ensemble.json").read_text())
    assert report["classes"] == ["bright", "brighter"]
    assert [
        line.split(":")[0].removeprefix("review ") for line in done.stdout.splitlines() if line.startswith("review")
    ] == list(report["review"])


def test_the_rules_of_a_selection_are_applied_when_asked_for(tmp_path: Path, folders: list[Path]) -> None:
    rule = {"kind": "largest_component", "structure": "bright", "volume_ml": 0.0, "value": 0, "probability": 0.5}
    selection = {
        "format": 1,
        "dataset": "Small",
        "criterion": "dice",
        "chosen": "3d_fullres",
        "models": [],
        "folds": [],
        "cases": 0,
        "rules": [rule],
        "corrections": [],
        "judged": [],
        "notes": [],
        "command": "",
        "made_from": {},
    }
    (tmp_path / "selection.json").write_text(json.dumps(selection))
    done = called(*folders, "-o", tmp_path / "out", "--selection", tmp_path / "selection.json")
    assert done.exit_code == 0, done.output
    assert "corrected: bright: only the largest part" in done.stdout


def test_cases_that_fail_are_named_at_the_end_with_exit_code_2(tmp_path: Path) -> None:
    first, second, _ = members(tmp_path)
    (second / "case1_probabilities.nii.gz").unlink()
    done = called(first, second, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "1 of 2 cases could not be averaged" in done.stderr
    assert (tmp_path / "out" / "case0.nii.gz").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--weights", "1", "2"), "2 weights for 3 members"),
        (("--weights", "1", "2", "-1"), "found -1, expected numbers above 0"),
        (("--classes", "brigt"), "Did you mean 'bright (4)'"),
        (("--selection", "nothing"), "unknown planned data set"),
    ],
)
def test_bad_input_ends_with_one_message_and_exit_code_2(
    tmp_path: Path, folders: list[Path], words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOSEG_WORKSPACE", str(tmp_path / "workspace"))
    done = called(*folders, "-o", tmp_path / "out", *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
