import json

import numpy as np
import pytest

import autoseg
from autoseg.artefacts import digest, load
from autoseg.data.dataset import Dataset
from autoseg.errors import ArtefactError, DatasetError
from autoseg.fingerprint import Fingerprint
from autoseg.planning.plan import Plan
from autoseg.planning.run import check, plan, plan_from_fingerprint, save_plan
from autoseg.workspace import open_workspace
from tests.fingerprint.made_up import ramp, write_case


@pytest.fixture
def raw(tmp_path):
    """A folder as the Decathlon ships it, with four cases."""
    root = tmp_path / "Task77_Ramp"
    cases = [
        write_case(root, f"ramp_{i}", image=ramp((20, 24, 28)), labels=(ramp((20, 24, 28)) > 10).astype(np.uint8))
        for i in range(4)
    ]
    listed = [{"image": f"./{case.images[0]}", "label": f"./{case.label}"} for case in cases]
    content = {
        "name": "Ramp",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "organ"},
        "numTraining": 4,
        "training": listed,
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def workspace(tmp_path):
    return open_workspace(tmp_path / "ws")


def test_planning_saves_data_set_fingerprint_and_plan_and_remembers_the_name(raw, workspace):
    made = plan(raw, workspace=workspace, workers=1)
    folder = workspace.chosen(None)
    assert folder.path.name == made.dataset == "Task77_Ramp"
    assert load(Plan, folder.plan_file, remake="x") == made
    dataset = load(Dataset, folder.dataset_file, remake="x")
    fingerprint = load(Fingerprint, folder.fingerprint_file, remake="x")
    assert made.made_from == {"dataset": digest(dataset), "fingerprint": digest(fingerprint)}
    assert made.configurations["3d_fullres"].median_shape == (18, 22, 26)


def test_the_python_interface_plans_with_the_same_function():
    assert autoseg.plan is plan


def test_what_is_up_to_date_is_left_alone(raw, workspace):
    plan(raw, workspace=workspace, workers=1)
    folder = workspace.chosen(None)
    files = [folder.dataset_file, folder.fingerprint_file, folder.plan_file]
    before = [file.stat().st_mtime_ns for file in files]
    again = save_plan(check(raw, workspace=workspace, workers=1))
    assert again.was_up_to_date
    assert [file.stat().st_mtime_ns for file in files] == before


def test_another_plan_replaces_the_old_one_which_is_kept(raw, workspace):
    first = plan(raw, workspace=workspace, workers=1)
    done = save_plan(check(raw, workspace=workspace, workers=1), settings=["training.epochs=7"])
    assert done.plan.training.epochs == 7
    assert not done.was_up_to_date
    assert load(Plan, done.replaced, remake="x") == first


def test_a_damaged_plan_is_made_anew(raw, workspace):
    first = plan(raw, workspace=workspace, workers=1)
    file = workspace.chosen(None).plan_file
    file.write_text(file.read_text()[:100])
    assert plan(raw, workspace=workspace, workers=1) == first
    assert load(Plan, file, remake="x") == first


def test_all_problems_are_listed_and_stop_the_plan(raw, workspace):
    write_case(raw, "ramp_0", image=ramp((20, 24, 28)), labels=np.full((20, 24, 28), 9, dtype=np.uint8))
    write_case(raw, "ramp_1", image=np.zeros((20, 24, 28)), labels=np.ones((20, 24, 28), dtype=np.uint8))
    truncated = raw / "images" / "ramp_2.nii.gz"
    truncated.write_bytes(truncated.read_bytes()[:-30])
    with pytest.raises(DatasetError, match="3 problems would make training wrong") as caught:
        plan(raw, workspace=workspace, workers=1)
    for case in ("ramp_0", "ramp_1", "ramp_2"):
        assert f"case {case}" in str(caught.value)
    assert not (workspace.root / "Task77_Ramp" / "plan.json").exists()


def test_checking_counts_labels_and_makes_no_plan(raw, workspace):
    found = check(raw, workspace=workspace, workers=1)
    assert found.problems == ()
    assert [(use.value, use.cases) for use in found.understanding.labels] == [(0, 4), (1, 4)]
    assert not found.folder.plan_file.exists()


def test_a_plan_from_its_own_saved_fingerprint_is_the_same(raw, workspace):
    made = plan(raw, workspace=workspace, workers=1)
    folder = workspace.chosen(None)
    again, _ = plan_from_fingerprint(folder.fingerprint_file, folder.dataset_file)
    assert again == made


def test_an_own_fingerprint_that_was_edited_wrongly_is_refused_by_its_key(raw, workspace):
    plan(raw, workspace=workspace, workers=1)
    folder = workspace.chosen(None)
    content = json.loads(folder.fingerprint_file.read_text())
    content["cases"][0]["relative_size"] = -1
    folder.fingerprint_file.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match=r"cases.0.relative_size: expected greater than 0, found -1"):
        plan_from_fingerprint(folder.fingerprint_file, folder.dataset_file)
