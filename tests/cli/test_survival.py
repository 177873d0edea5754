import json

import pytest
from typer.testing import CliRunner

pytest.importorskip("sksurv", reason="needs the extra [survival]")

from autoseg.cli.survival import main
from autoseg.data.phantom import write_phantom
from tests.survival.cohorts import draw_cohort


@pytest.fixture
def called(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOSEG_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("COLUMNS", "100")
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


def write_table(path, patients=40):
    cohort = draw_cohort(patients)
    rows = zip(cohort.ids, cohort.features[:, 0], cohort.days, strict=True)
    path.write_text("id,Age,Survival_days\n" + "".join(f"{id_},{age:.2f},{days:.0f}\n" for id_, age, days in rows))


def test_features_train_and_predict_work_from_the_command_line(called, tmp_path):
    phantom = write_phantom(tmp_path, cases=2, shape=(24, 24, 24), workers=1)
    done = called("features", "-d", phantom, "-o", tmp_path / "measured", "--workers", "1", "-q")
    assert (done.exit_code, done.output) == (0, "")
    write_table(tmp_path / "table.csv")
    done = called("train", "-t", tmp_path / "table.csv", "--model", "ridge", "-o", tmp_path / "model")
    assert done.exit_code == 0, done.output
    assert "C-index minus that of age alone" in done.stdout
    assert "Not for treatment decisions" in done.stdout
    words = ("predict", "-m", tmp_path / "model", "-p", phantom / "labelsTr", "-i", phantom / "imagesTr", "-d", phantom)
    done = called(*words, "--clinical", phantom / "survival.csv", "-o", tmp_path / "forecast", "--json", "--workers", "1")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [one["id"] for one in found] == ["PHANTOM_00001", "PHANTOM_00002"]
    assert all(one["low"] < one["days"] < one["high"] for one in found)


def test_an_age_of_300_ends_with_one_message_and_exit_code_2(called, tmp_path):
    write_table(tmp_path / "table.csv")
    text = (tmp_path / "table.csv").read_text().splitlines()
    text[3] = "P2,300,100"
    (tmp_path / "table.csv").write_text("\n".join(text))
    done = called("train", "-t", tmp_path / "table.csv", "-o", tmp_path / "model")
    assert done.exit_code == 2
    assert "row 4: Age is 300; expected years from 0 to 120" in done.stderr
    assert not (tmp_path / "model").exists()


def test_without_a_subcommand_the_three_are_listed(called):
    done = called()
    assert all(name in done.output for name in ("features", "train", "predict"))
