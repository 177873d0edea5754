"""The workspace knows which data set is meant."""

import os

import pytest

from autoseg.errors import UnknownNameError, WorkspaceError
from autoseg.workspace import open_workspace


@pytest.fixture
def workspace(tmp_path):
    return open_workspace(tmp_path / "ws")


def plan(workspace, name):
    workspace.dataset(name).path.mkdir()
    workspace.dataset(name).plan_file.touch()
    workspace.remember(name)


def test_the_data_set_planned_last_is_chosen(workspace):
    plan(workspace, "Task01")
    plan(workspace, "Task02")
    assert workspace.chosen(None).path.name == "Task02"
    assert workspace.chosen("Task01").path.name == "Task01"


def test_a_path_to_the_raw_folder_is_taken_as_its_name(workspace, tmp_path):
    plan(workspace, "Task01")
    assert workspace.chosen(str(tmp_path / "raw" / "Task01")).path == workspace.dataset("Task01").path


def test_an_unplanned_data_set_is_answered_with_the_nearest(workspace):
    plan(workspace, "Task01_BrainTumour")
    with pytest.raises(UnknownNameError, match="Did you mean 'Task01_BrainTumour'"):
        workspace.chosen("Task01_BrainTumor")


def test_an_empty_workspace_says_what_to_run(workspace):
    with pytest.raises(WorkspaceError, match="Run: autoseg_plan DATASET"):
        workspace.chosen(None)


def test_the_environment_names_the_workspace_where_the_command_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOSEG_WORKSPACE", str(tmp_path / "elsewhere"))
    assert open_workspace().root == tmp_path / "elsewhere"
    assert open_workspace(tmp_path / "named").root == tmp_path / "named"


def test_a_workspace_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be written"):
        open_workspace(tmp_path / "file" / "ws")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_workspace_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WorkspaceError, match="cannot be written"):
        open_workspace(tmp_path)


def test_a_model_is_found_as_dataset_and_model_and_nothing_else_is_spelt_so(workspace, tmp_path):
    model = workspace.dataset("Task01").model("3d_fullres")
    model.mkdir(parents=True)
    (model / "model.json").touch()
    assert workspace.located("Task01/3d_fullres") == model
    for other in ("3d_fullres", "Task01/2d", "Task02/3d_fullres", "Task01/", "../ws/Task01", str(model)):
        assert workspace.located(other) is None
