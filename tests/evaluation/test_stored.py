import numpy as np
import pytest

from autoseg.artefacts import save
from autoseg.data.image import Geometry
from autoseg.data.readers import write_labels
from autoseg.errors import ArtefactError, EvaluationError, UnknownNameError
from autoseg.evaluation.stored import evaluation_at, fold_predictions
from tests.evaluation.test_compare import evaluation
from tests.prediction.small import plan, write_small_model


def test_the_fold_of_all_cases_holds_none_out(tmp_path):
    with pytest.raises(EvaluationError, match="trained on every case"):
        fold_predictions(tmp_path, "all")


def test_held_out_cases_without_a_prediction_are_named_with_the_command_that_makes_them(tmp_path):
    model = write_small_model(tmp_path / "m", plan())
    with pytest.raises(EvaluationError, match=r"fold_0/validation: not found.*autoseg_train .* -f 0"):
        fold_predictions(model, "0")
    other = model / "fold_0" / "validation" / "a.nii.gz"
    write_labels(other, np.zeros((2, 3, 4), dtype=np.uint8), Geometry((2, 3, 4), (1.0, 1.0, 1.0), np.eye(4)))
    with pytest.raises(EvaluationError, match=r"1 of 1 held-out cases have no prediction: b\. .*autoseg_train .* -f 0"):
        fold_predictions(model, "0")
    other.rename(other.with_name("b.nii.gz"))
    assert fold_predictions(model, "0") == other.parent
    with pytest.raises(UnknownNameError, match="unknown fold '7'"):
        fold_predictions(model, "7")


def test_a_folder_is_evaluated_anew_and_a_file_is_read(tmp_path):
    stored = evaluation([0.5], [0.5])
    save(stored, tmp_path / "evaluation.json")
    assert evaluation_at(tmp_path / "evaluation.json", otherwise=pytest.fail) == stored
    assert evaluation_at(tmp_path, otherwise=lambda folder: folder) == tmp_path
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(ArtefactError, match="predictions: missing"):
        evaluation_at(tmp_path / "evaluation.json", otherwise=pytest.fail)
