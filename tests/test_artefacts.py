"""Artefacts are whole or absent, and say which key is wrong."""

import json

import pytest
from pydantic import BaseModel

from autoseg.artefacts import FROZEN, digest, load, remove_unfinished, save, written_whole
from autoseg.errors import ArtefactError, WorkspaceError


class Inner(BaseModel):
    model_config = FROZEN
    epochs: int = 5
    rate: float = 0.1


class Outer(BaseModel):
    model_config = FROZEN
    name: str
    training: Inner
    steps: tuple[Inner, ...] = ()


OUTER = Outer(name="a", training=Inner(), steps=(Inner(epochs=7),))


def load_text(tmp_path, text):
    file = tmp_path / "outer.json"
    file.write_text(text)
    return load(Outer, file, remake="autoseg_plan DATASET")


def test_an_artefact_comes_back_as_it_was(tmp_path):
    save(OUTER, tmp_path / "deep" / "outer.json")
    assert load(Outer, tmp_path / "deep" / "outer.json", remake="x") == OUTER


def test_a_wrong_type_is_named_by_its_path_with_both_sides(tmp_path):
    text = json.dumps({"name": "a", "training": {"epochs": "5", "rate": 0.1}, "steps": []})
    with pytest.raises(ArtefactError, match=r"outer\.json: training\.epochs: expected a valid integer, found '5'"):
        load_text(tmp_path, text)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"name": "a", "training": {"epochs": 5, "rate": 0.1}, "steps": [{"epochs": 1}]}, r"steps\.0\.rate: missing"),
        ({"name": "a", "steps": []}, "training: missing"),
        ({"name": "a", "training": {"epochs": 5, "rate": 0.1, "rat": 1}, "steps": []}, r"training\.rat: unknown key"),
    ],
)
def test_missing_and_unknown_keys_are_refused(tmp_path, stored, message):
    with pytest.raises(ArtefactError, match=message):
        load_text(tmp_path, json.dumps(stored))


def test_text_that_is_not_json_is_refused_with_the_command_that_remakes_it(tmp_path):
    with pytest.raises(ArtefactError, match=r"not JSON .* make it anew with: autoseg_plan DATASET"):
        load_text(tmp_path, '{"name": ')


def test_an_absent_file_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(ArtefactError, match="not found"):
        load(Outer, tmp_path / "none.json", remake="autoseg_plan DATASET")


def test_nan_is_never_accepted():
    with pytest.raises(ValueError, match="finite"):
        Inner(rate=float("nan"))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "a.json"
    save(OUTER, file)
    before = file.read_bytes()
    with pytest.raises(TypeError), written_whole(file) as half:
        half.write("text where bytes belong")
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be written"):
        save(OUTER, tmp_path / "file" / "a.json")


def test_the_digest_changes_with_any_value_and_only_then():
    assert digest(OUTER) == digest(OUTER.model_copy())
    assert digest(OUTER) != digest(OUTER.model_copy(update={"name": "b"}))


def test_an_error_of_writing_without_a_name_of_its_own_keeps_its_text(tmp_path):
    with (
        pytest.raises(WorkspaceError, match=r"cannot be written \(10 requested and 3 written"),
        written_whole(tmp_path / "a"),
    ):
        raise OSError("10 requested and 3 written")  # as numpy says that the disk is full


def test_what_killed_processes_left_is_removed_once_it_is_old_enough(tmp_path):
    left, kept = tmp_path / ".writing-abc.json", tmp_path / "plan.json"
    for path in (left, kept):
        path.write_text("{")
    remove_unfinished(tmp_path, older_than_s=60)
    assert left.exists()
    remove_unfinished(tmp_path)
    assert not left.exists()
    assert kept.exists()
