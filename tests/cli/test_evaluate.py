import json

import pytest
from typer.testing import CliRunner

from autoseg.artefacts import save
from autoseg.cli.evaluate import main
from autoseg.data.readers import write_labels
from autoseg.workspace import open_workspace
from tests.evaluation.test_run import dataset, grid, labels
from tests.prediction.small import plan, write_small_model


@pytest.fixture
def called(tmp_path, monkeypatch):
    """Two test cases of a data set, predicted; the function runs the command in a workspace of their own."""
    monkeypatch.setenv("AUTOSEG_WORKSPACE", str(tmp_path / "workspace"))
    for case in "rs":
        write_labels(tmp_path / case / f"{case}_seg.nii.gz", labels(), grid())
        write_labels(tmp_path / "out" / f"{case}.nii.gz", labels(voxels=8), grid())
    return lambda *words: CliRunner().invoke(main, ["-p", str(tmp_path / "out"), "--workers", "1", *words])


def planned(tmp_path):
    """Make the data set the one planned last; commands look for nothing of its plan but the file."""
    workspace = open_workspace()
    save(dataset(tmp_path), workspace.dataset("d").dataset_file)
    workspace.dataset("d").plan_file.write_text("{}")
    workspace.remember("d")


def test_a_folder_of_references_needs_no_data_set(called, tmp_path):
    for case in "rs":
        write_labels(tmp_path / "references" / f"{case}.nii.gz", labels(), grid())
    done = called("-r", str(tmp_path / "references"))
    assert done.exit_code == 0, done.output
    assert "label_2" in done.stdout
    assert "0.667" in done.stdout
    assert (tmp_path / "out" / "evaluation.json").exists()


def test_the_labels_of_the_data_set_planned_last_are_taken_and_named(called, tmp_path):
    planned(tmp_path)
    done = called("-o", str(tmp_path / "scores"))
    assert done.exit_code == 0, done.output
    assert "Labels and regions of data set d" in done.stdout
    assert "edema" in done.stdout
    assert (tmp_path / "scores" / "per_case.csv").exists()


def test_json_is_one_document_and_quiet_prints_nothing(called, tmp_path):
    planned(tmp_path)
    found = json.loads(called("-d", "d", "--json").stdout)
    assert found["labels"]["edema"]["dice"]["mean"] == pytest.approx(2 / 3)
    assert called("-d", "d", "-q").stdout == ""


def test_without_references_and_data_set_the_command_says_what_to_name(called):
    done = called()
    assert done.exit_code == 2
    assert "-r" in done.output


def test_an_unknown_data_set_is_refused_with_the_nearest_name(called, tmp_path):
    planned(tmp_path)
    done = called("-d", "dd")
    assert done.exit_code == 2
    assert "Did you mean 'd'" in done.output


def test_a_missing_prediction_ends_with_its_name_and_code_2(called, tmp_path):
    planned(tmp_path)
    (tmp_path / "out" / "s.nii.gz").unlink()
    done = called()
    assert done.exit_code == 2
    assert "have no prediction: s" in done.output
    assert called("--allow-missing").exit_code == 0


def test_a_held_out_case_without_a_prediction_ends_with_its_name_and_code_2(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOSEG_WORKSPACE", str(tmp_path / "workspace"))
    planned(tmp_path)
    model = write_small_model(tmp_path / "m", plan())
    write_labels(model / "fold_0" / "validation" / "p.nii.gz", labels(), grid())
    done = CliRunner().invoke(main, ["-f", "0", "-m", str(model)])
    assert done.exit_code == 2
    assert "1 of 1 held-out cases have no prediction: b" in done.output
    assert not (model / "fold_0" / "validation" / "evaluation.json").exists()


def test_two_sets_are_compared_by_folder_or_by_stored_evaluation(called, tmp_path):
    planned(tmp_path)
    for case in "rs":
        write_labels(tmp_path / "better" / f"{case}.nii.gz", labels(voxels=5 if case == "r" else 6), grid())
    folders = [str(tmp_path / "out"), str(tmp_path / "better")]
    done = CliRunner().invoke(main, ["--compare", *folders, "--workers", "1", "-o", str(tmp_path / "c")])
    assert done.exit_code == 0, done.output
    assert "Nothing shown differs beyond chance" in done.stdout
    assert (tmp_path / "c" / "comparison.json").exists()
    stored = [f"{folder}/evaluation.json" for folder in folders]
    found = json.loads(CliRunner().invoke(main, ["--compare", *stored, "--json"]).stdout)
    assert found["labels"]["edema"]["dice"]["difference"] == pytest.approx((8 / 9 + 8 / 10) / 2 - 2 / 3)


def test_a_paper_gets_its_table_and_nothing_else(called, tmp_path):
    planned(tmp_path)
    done = called("--format", "markdown", "--metric", "dice")
    assert done.stdout == "|  | Dice |\n| --- | ---: |\n| edema | 0.667 [0.667, 0.667] (n=2) |\n"


def test_what_is_evaluated_how_is_refused_by_name_before_any_work(called, tmp_path):
    for words, message in (
        (["--format", "word"], "unknown table format 'word'"),
        (["--metric", "dic"], "Did you mean 'dice'"),
        (["--undefined", "brats"], "brats2020"),
        (["--lesions", "glia"], "Did you mean 'gli'"),
        (["-f", "0"], "name what to evaluate"),
    ):
        done = called(*words)
        assert done.exit_code == 2
        assert message in done.output
