import pytest

from autoseg.artefacts import save
from autoseg.errors import ArtefactError, EvaluationError
from autoseg.evaluation.stored import evaluation_at, fold_predictions
from tests.evaluation.test_compare import evaluation


def test_the_fold_of_all_cases_holds_none_out(tmp_path):
    with pytest.raises(EvaluationError, match="trained on every case"):
        fold_predictions(tmp_path, "all")


def test_a_folder_is_evaluated_anew_and_a_file_is_read(tmp_path):
    stored = evaluation([0.5], [0.5])
    save(stored, tmp_path / "evaluation.json")
    assert evaluation_at(tmp_path / "evaluation.json", otherwise=pytest.fail) == stored
    assert evaluation_at(tmp_path, otherwise=lambda folder: folder) == tmp_path
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(ArtefactError, match="predictions: missing"):
        evaluation_at(tmp_path / "evaluation.json", otherwise=pytest.fail)
