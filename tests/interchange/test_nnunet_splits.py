import json

import numpy as np
import pytest

from autoseg.errors import ArtefactError
from autoseg.evaluation.stored import fold_predictions
from autoseg.interchange.nnunet_import import import_nnunet
from autoseg.training.model_folder import open_model
from autoseg.workspace import Workspace
from tests.interchange.made import write_nnunet_model

SPLITS = [{"train": ["c", "a"], "val": ["b"]}, {"train": ["b"], "val": ["c", "a"]}]


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "workspace").mkdir()
    return Workspace(tmp_path / "workspace")


def write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def test_splits_say_which_cases_a_fold_held_out(tmp_path, workspace):
    write_nnunet_model(tmp_path / "m", folds=("0", "1"))
    found = import_nnunet(tmp_path / "m", workspace, splits=write(tmp_path / "elsewhere.json", SPLITS))[-1]
    splits = open_model(found.path).splits
    assert [splits.fold(name) for name in ("0", "1")] == [(("a", "c"), ("b",)), (("b",), ("a", "c"))]
    assert f"splits of {tmp_path / 'elsewhere.json'}" in found.notes


@pytest.mark.parametrize("place", ["m", ".", "preprocessed/Dataset007_Made"])
def test_splits_are_found_where_nnunet_leaves_them(tmp_path, workspace, monkeypatch, place):
    write_nnunet_model(tmp_path / "m")
    write(tmp_path / place / "splits_final.json", SPLITS)
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    assert open_model(import_nnunet(tmp_path / "m", workspace)[-1].path).splits.names == ("0", "1")


def test_predictions_of_held_out_cases_come_along_where_they_are_whole(tmp_path, workspace):
    nibabel = pytest.importorskip("nibabel")
    write_nnunet_model(tmp_path / "m", folds=("0", "1"))
    for fold, ids in (("0", "b"), ("1", "a")):
        folder = tmp_path / "m" / f"fold_{fold}" / "validation"
        folder.mkdir()
        (folder / "summary.json").write_text("{}")
        for id_ in ids:
            nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), folder / f"{id_}.nii.gz")
    found = import_nnunet(tmp_path / "m", workspace, splits=write(tmp_path / "s.json", SPLITS))[-1]
    assert [path.name for path in fold_predictions(found.path, "0").iterdir()] == ["b.nii.gz"]
    assert not (found.path / "fold_1" / "validation").exists()
    assert "fold 0: took over nnU-Net's predictions of its 1 held-out cases" in found.notes


def test_a_model_imported_without_splits_is_not_taken_for_the_same_with_them(tmp_path, workspace):
    write_nnunet_model(tmp_path / "m")
    import_nnunet(tmp_path / "m", workspace)
    splits = write(tmp_path / "s.json", SPLITS)
    found = import_nnunet(tmp_path / "m", workspace, splits=splits, overwrite=True)[-1]
    assert open_model(found.path).splits.names == ("0", "1")
    assert import_nnunet(tmp_path / "m", workspace, splits=splits)[-1].was_there


def test_a_fold_that_the_splits_do_not_know_is_a_note(tmp_path, workspace):
    write_nnunet_model(tmp_path / "m", folds=("0", "4", "all"))
    splits = write(tmp_path / "s.json", SPLITS)
    found = import_nnunet(tmp_path / "m", workspace, splits=splits)[-1]
    assert f"fold 4: not in {splits}, which cases it held out is not known" in found.notes
    assert not any(note.startswith(("fold 0", "fold all")) for note in found.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"train": ["a"], "val": ["a", "b"]}], "fold 0: case a is both trained and validated on"),
        ([{"train": ["a"]}], r"0\.val: missing.*Expected a list of"),
        ([], "no fold. Expected a list of"),
        ({"train": []}, "Expected a list of"),
    ],
)
def test_splits_that_make_no_sense_are_refused(tmp_path, workspace, content, message):
    write_nnunet_model(tmp_path / "m")
    with pytest.raises(ArtefactError, match=message):
        import_nnunet(tmp_path / "m", workspace, splits=write(tmp_path / "s.json", content))
    with pytest.raises(ArtefactError, match="not found"):
        import_nnunet(tmp_path / "m", workspace, splits=tmp_path / "gone.json")
