import json

import numpy as np
import pytest
from typer.testing import CliRunner

from autoseg.artefacts import save
from autoseg.cli.preprocess import main
from autoseg.data.dataset import Case, Dataset
from autoseg.data.readers import write_image, write_labels
from autoseg.fingerprint import examine
from autoseg.workspace import open_workspace
from tests.preprocessing.making import LABELS, configuration, geometry, plan


@pytest.fixture
def planned(tmp_path):
    """A workspace with one planned data set of one case."""
    root = tmp_path / "raw"
    root.mkdir()
    grid = geometry((6, 6, 6))
    write_image(root / "a.nii.gz", np.ones((1, 6, 6, 6), np.float32), grid)
    write_labels(root / "a_seg.nii.gz", np.full((6, 6, 6), 2, np.uint8), grid)
    case = Case(id="a", images=("a.nii.gz",), label="a_seg.nii.gz")
    dataset = Dataset(
        name="test", root=str(root), layout="list", template=None, channels=("channel0",), labels=LABELS, cases=(case,)
    )
    workspace = open_workspace(tmp_path / "workspace")
    folder = workspace.dataset("test")
    fingerprint, _ = examine(dataset, cache=folder.case_cache, workers=1)
    for artefact, file in (
        (dataset, folder.dataset_file),
        (fingerprint, folder.fingerprint_file),
        (plan(configuration()), folder.plan_file),
    ):
        save(artefact, file)
    workspace.remember("test")
    return tmp_path


def run(planned, *arguments):
    return CliRunner().invoke(main, [*arguments, "-w", str(planned / "workspace"), "--workers", "1"])


def test_it_says_what_is_ready_and_where(planned):
    result = run(planned, "test")
    assert result.exit_code == 0
    assert "Data set test, planned last" in result.output
    assert "test: 1 case ready in" in result.output


def test_for_machines_it_prints_json_alone(planned):
    result = run(planned, "test", "-d", "test", "--json")
    folder = planned / "workspace" / "test" / "preprocessed" / "test"
    assert json.loads(result.stdout) == [{"configuration": "test", "cases": ["a"], "folder": str(folder)}]
    assert (folder / "cases" / "a.image.npy").is_file()


def test_quiet_prints_nothing(planned):
    assert run(planned, "test", "-q").stdout == ""


def test_an_unknown_configuration_ends_with_code_2(planned):
    result = run(planned, "tets")
    assert result.exit_code == 2
    assert "unknown configuration 'tets'. Did you mean 'test'" in result.output


def test_data_that_changed_since_planning_end_with_code_2_and_the_file(planned):
    (planned / "raw" / "a.nii.gz").write_bytes(b"something else")
    result = run(planned, "test")
    assert result.exit_code == 2
    assert "a.nii.gz" in result.output
