import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from autoseg.artefacts import save
from autoseg.cli.model_choice import model_folders
from autoseg.cli.predict import main
from autoseg.errors import PredictionError, UnknownNameError
from autoseg.workspace import open_workspace
from tests.prediction import small


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two scans to predict and, in a workspace, a planned data set with two trained configurations."""
    monkeypatch.setenv("AUTOSEG_WORKSPACE", str(tmp_path / "workspace"))
    workspace = open_workspace()
    dataset = workspace.dataset("Small")
    save(small.plan(), dataset.plan_file)
    workspace.remember("Small")
    flat = small.plan(patch_size=(8, 8), spacing_mm=(1.0, 1.0), name="2d")
    small.write_small_model(dataset.models / "2d", flat)
    small.write_small_model(dataset.models / "3d_fullres", small.plan(), folds=("0", "1"))
    for name in ("a", "b"):
        small.write_nifti(tmp_path / "in" / f"{name}.nii.gz", small.scan(10, 11, 12))
    return tmp_path


def called(folders: Path, *words: str) -> Any:
    return CliRunner().invoke(main, ["-i", str(folders / "in"), "-o", str(folders / "out"), *words])


def test_the_data_set_planned_last_and_its_full_resolution_are_taken_and_named(folders: Path) -> None:
    done = called(folders)
    assert done.exit_code == 0, done.output
    assert "taking 3d_fullres of Small" in done.stderr
    assert "2 of 2 cases" in done.stdout
    assert "3d_fullres, folds 0, 1" in done.stdout
    assert (folders / "out" / "b.nii.gz").exists()


def test_for_machines_each_case_is_a_line_of_json_with_its_file_times_volumes_and_the_models_digest(folders: Path) -> None:
    done = called(folders, "--json", "-c", "2d", "-c", "3d_fullres", "-f", "0")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == ["a.nii.gz", "b.nii.gz"]
    assert set(lines[0]["seconds"]) == {"read", "prepare", "network", "export", "write"}
    assert set(lines[0]["volumes_ml"]) == {"bright", "brighter"}
    report = json.loads((folders / "out" / "prediction.json").read_text())
    assert lines[0]["model"] == lines[1]["model"] == report["made_from"]["model"]
    again = called(folders, "--json", "-c", "2d", "-c", "3d_fullres", "-f", "0", "--skip-existing")
    assert [json.loads(line)["skipped"] for line in again.stdout.splitlines()] == [True, True]


def test_configurations_are_weighted_and_their_order_does_not_count(folders: Path) -> None:
    first = called(folders, "--json", "-c", "2d", "-c", "3d_fullres", "--weights", "2", "1", "--probabilities")
    assert first.exit_code == 0, first.output
    before = {file.name: file.read_bytes() for file in (folders / "out").glob("*.nii.gz")}
    report = json.loads((folders / "out" / "prediction.json").read_text())
    assert report["shares"] == [2 / 3, 1 / 3]
    second = called(folders, "--json", "-c", "3d_fullres", "-c", "2d", "--weights", "1", "2", "--classes", "4")
    assert second.exit_code == 0, second.output
    assert json.loads(second.stdout.splitlines()[0])["model"] == json.loads(first.stdout.splitlines()[0])["model"]
    for name in ("a.nii.gz", "b.nii.gz"):
        assert (folders / "out" / name).read_bytes() == before[name]


def test_uncertainty_names_the_cases_to_look_at(folders: Path) -> None:
    done = called(folders, "--uncertainty", "-c", "3d_fullres")
    assert done.exit_code == 0, done.output
    assert "cases to look at, the least sure first" in done.stdout
    assert (folders / "out" / "uncertainty.csv").exists()
    assert (folders / "out" / "a_entropy.nii.gz").exists()


def test_models_of_several_data_sets_predict_together_by_their_names(tmp_path: Path) -> None:
    space = open_workspace(tmp_path)
    for dataset, model in (("First", "3d_fullres"), ("Second", "mine"), ("Third", "twin"), ("Fourth", "twin")):
        file = space.dataset(dataset).model(model) / "model.json"
        file.parent.mkdir(parents=True)
        file.touch()

    def found(*names: str, dataset: str | None = None) -> list[str]:
        folders = model_folders(tmp_path, dataset, names=list(names), configurations=[])
        return [f"{folder.parents[1].name}/{folder.name}" for folder in folders]

    assert found("3d_fullres", "mine") == ["First/3d_fullres", "Second/mine"]
    assert found("mine", "Third/twin") == ["Second/mine", "Third/twin"]
    with pytest.raises(PredictionError, match=r"2 data sets have a model twin: Fourth, Third. Name it DATASET/twin"):
        found("mine", "twin")
    with pytest.raises(UnknownNameError, match=r"'mime'. Did you mean 'mine'[?] Known: 3d_fullres, mine, twin"):
        found("3d_fullres", "mime")
    with pytest.raises(UnknownNameError, match="unknown model 'mine'"):
        found("mine", dataset="First")


def test_a_model_folder_needs_no_workspace(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small.write_small_model(folders / "elsewhere", small.plan())
    monkeypatch.setenv("AUTOSEG_WORKSPACE", "/proc/nowhere")
    done = called(folders, "-m", str(model), "-q")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""


def test_failed_cases_are_named_at_the_end_with_exit_code_2_and_the_others_are_written(folders: Path) -> None:
    small.write_nifti(folders / "in" / "a.nii.gz", np.stack([small.scan(10, 11, 12)] * 4))
    done = called(folders)
    assert done.exit_code == 2
    assert "case a: 4 channels found" in done.stderr
    assert "1 of 2 cases could not be predicted" in done.stderr
    assert (folders / "out" / "b.nii.gz").exists()


def test_where_every_case_failed_no_stage_is_said_to_have_taken_time(folders: Path) -> None:
    for name in ("a", "b"):
        small.write_nifti(folders / "in" / f"{name}.nii.gz", np.stack([small.scan(10, 11, 12)] * 4))
    done = called(folders)
    assert done.exit_code == 2
    assert "0 of 2 cases in" in done.stdout
    assert "()" not in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-c", "3d_fulres"), "Did you mean '3d_fullres'"),
        (("-f", "7"), "Known: 0, 1"),
        (("-d", "Smal"), "Did you mean 'Small'"),
        (("-m", "nothing"), "unknown model 'nothing'"),
        (("--step", "0"), "step 0"),
        (("--precision", "fp16"), "CUDA"),
        (("--quality", "bst"), "Did you mean 'best'"),
        (("--channel", "MRI"), "expected NAME=DIR"),
        (("--channel", "MRJ=x"), "Did you mean 'MRI'"),
        (("--memory", "0"), "more than 0"),
        (("-c", "2d", "-c", "3d_fullres", "--weights", "1", "2", "3"), "3 weights for 2 members"),
        (("-c", "2d", "-c", "3d_fullres", "--weights", "1", "-2"), "found -2, expected numbers above 0"),
        (("--weights", "x"), "found 'x'"),
        (("--classes", "brigt"), "Did you mean 'bright (4)'"),
        (("--executor", "threads"), "Known: dask://HOST:PORT, processes"),
    ],
)
def test_bad_input_ends_with_one_message_and_exit_code_2(folders: Path, words: tuple[str, ...], message: str) -> None:
    done = called(folders, *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert not (folders / "out").exists()


def test_an_input_that_is_not_there_is_named_before_the_model_with_what_lies_beside_it(folders: Path) -> None:
    words = ["-i", str(folders / "inn"), "-o", str(folders / "out"), "-m", "nothing"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert f"inn: not found. Did you mean {folders / 'in'}?" in done.stderr
    assert "nothing to predict" in CliRunner().invoke(main, ["-o", str(folders / "out")]).stderr
