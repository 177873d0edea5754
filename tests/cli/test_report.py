import json

import pytest
from typer.testing import CliRunner

from autoseg.cli.report import main
from autoseg.workspace import open_workspace
from tests.report.made_up import planned_and_trained


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    place = tmp_path_factory.mktemp("command")
    planned_and_trained(place)
    return place


def report(root, *words):
    return CliRunner().invoke(main, [*map(str, words), "-w", str(root / "workspace")])


def written(done):
    assert done.exit_code == 0, done.output
    return [line.removeprefix("Written: ").rpartition("/")[2] for line in done.stdout.splitlines()]


def test_the_page_of_the_data_set_planned_last_lies_with_its_usual_model(root):
    assert written(report(root)) == ["report.html"]
    page = (root / "workspace" / "d" / "models" / "m" / "report.html").read_text()
    assert "<h1>d, m</h1>" in page


def test_predictions_have_a_page_of_their_own(root, tmp_path):
    folder = root / "workspace" / "d" / "models" / "m" / "fold_0" / "validation"
    assert written(report(root, "-p", folder, "-o", tmp_path)) == ["report.html"]
    assert "over 2 cases: all cases" in (tmp_path / "report.html").read_text()


def test_pictures_are_written_on_their_own(root, tmp_path):
    names = ["overlay_worst_d.png", "overlay_median_c.png", "overlay_best_a.png"]
    assert written(report(root, "overlays", "-o", tmp_path)) == names
    assert written(report(root, "overlays", "b", "-o", tmp_path)) == ["overlay_b.png"]
    assert written(report(root, "gif", "b", "-o", tmp_path)) == ["b_surface.gif", "b_sweep.gif"]
    assert written(report(root, "curves", "-o", tmp_path)) == ["curves.png"]


def test_machines_are_told_what_was_written_and_what_could_not_be_read(root, tmp_path):
    done = report(root, "curves", "-o", tmp_path, "--json")
    found = json.loads(done.stdout)
    assert found["written"] == [str(tmp_path / "curves.png")]
    assert ["plan.json" in problem for problem in found["problems"]] == [True]
    assert "could not be read: " in done.stderr
    assert report(root, "curves", "-o", tmp_path, "-q").stdout == ""


def test_a_damaged_artefact_of_a_run_is_named_and_the_rest_is_shown(tmp_path):
    planned_and_trained(tmp_path)
    damaged = tmp_path / "workspace" / "d" / "models" / "m" / "fold_0" / "fold.json"
    damaged.write_text(damaged.read_text()[:100])
    done = report(tmp_path, "-o", tmp_path)
    assert done.exit_code == 0
    assert f"could not be read: {damaged}" in done.stderr
    assert str(damaged) in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pages"], "unknown kind of report 'pages'. Did you mean 'page'?"),
        (["gif"], "name the case to draw: autoseg_report gif CASE"),
        (["gif", "z"], "case z: no prediction is stored. Predicted cases are a, b, c, d."),
        (["overlays", "z"], "unknown evaluated case 'z'"),
        (["-d", "dd"], "Did you mean 'd'?"),
        (["-m", "mm"], "unknown model 'mm'. Did you mean 'm'?"),
        (["-p", "nowhere"], "nowhere/evaluation.json"),
        (["--survival", "nowhere"], "nowhere"),
    ],
)
def test_what_is_not_there_is_named_and_ends_with_code_2(root, words, message):
    done = report(root, *words)
    assert (done.exit_code, message in done.output) == (2, True), done.output


def test_what_a_plan_alone_cannot_show_is_said_with_the_way_to_it(root, tmp_path):
    folder = open_workspace(tmp_path / "workspace").dataset("d")
    for name in ("dataset.json", "plan.json"):
        folder.path.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_bytes((root / "workspace" / "d" / name).read_bytes())
    assert written(report(tmp_path, "-d", "d")) == ["report.html"]
    for words, message in (
        (["overlays"], "d: no evaluated predictions. Name a folder of predictions"),
        (["gif", "a"], "d: no evaluated predictions"),
        (["curves"], "d: no training with a history. Name a trained model with -m."),
    ):
        done = report(tmp_path, *words, "-d", "d")
        assert (done.exit_code, message in done.output) == (2, True), done.output


def test_a_folder_that_cannot_be_written_is_refused_with_the_option_for_another(root, tmp_path):
    (tmp_path / "file").write_text("")
    done = report(root, "-o", tmp_path / "file")
    assert done.exit_code == 2
    assert "Choose another folder with -o DIR." in done.output
