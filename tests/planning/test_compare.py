import pytest

from autoseg.artefacts import save
from autoseg.errors import ArtefactError, UnknownNameError
from autoseg.planning.compare import Difference, differences, find_plan
from autoseg.planning.planner import make_plan
from autoseg.planning.settings import apply_settings
from autoseg.workspace import open_workspace
from tests.planning.facts import brain

PLAN = make_plan(brain())


@pytest.fixture
def workspace(tmp_path):
    found = open_workspace(tmp_path / "ws")
    save(PLAN, found.dataset("Brain").plan_file)
    return found


def test_a_plan_does_not_differ_from_itself():
    assert differences(PLAN, make_plan(brain())) == ()


def test_each_value_that_differs_is_named_as_settings_name_it():
    changed = apply_settings(
        PLAN, ["3d_fullres.patch_size=96,96,128", "training.nesterov=no", "training.learning_rate=0.1"]
    )
    found = {one.key: one for one in differences(PLAN, changed)}
    consequences = ("3d_fullres.cost", "3d_fullres.predicted_")
    assert [one for key, one in found.items() if not key.startswith(consequences)] == [
        Difference(key="3d_fullres.patch_size", first="128 128 128", second="96 96 128"),
        Difference(key="training.learning_rate", first="0.01", second="0.1"),
        Difference(key="training.nesterov", first="true", second="false"),
    ]


def test_a_configuration_that_only_one_plan_has_is_one_difference():
    found = {one.key: one for one in differences(PLAN, make_plan(brain(shapes=((400, 512, 512),) * 20)))}
    assert found["3d_lowres"].first == "nothing"
    assert found["3d_lowres"].second.startswith("patch ")
    assert not any(key.startswith("3d_lowres.") for key in found)


def test_a_plan_is_found_by_file_folder_and_name(workspace, tmp_path):
    file = workspace.dataset("Brain").plan_file
    for text in (str(file), str(file.parent), "Brain"):
        assert find_plan(text, workspace=workspace) == PLAN


def test_a_plan_that_is_not_there_is_refused(workspace, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'Brain'"):
        find_plan("Brian", workspace=workspace)
    with pytest.raises(UnknownNameError, match=r"no plan there. Name a plan file"):
        find_plan(str(tmp_path / "nowhere.json"), workspace=workspace)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ArtefactError, match="not JSON"):
        find_plan(str(tmp_path / "broken.json"), workspace=workspace)
