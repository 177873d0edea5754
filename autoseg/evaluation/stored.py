"""Evaluations and validation predictions that lie in folders already."""

from collections.abc import Callable
from pathlib import Path

from autoseg.artefacts import load
from autoseg.data.splits import ALL
from autoseg.errors import EvaluationError, listed
from autoseg.evaluation.evaluate import Evaluation
from autoseg.evaluation.pairing import label_files
from autoseg.training.model_folder import VALIDATION_FOLDER, fold_folder, open_model

REMAKE = "autoseg_evaluate -p PREDICTIONS -d DATASET"


def fold_predictions(model: Path, fold: str) -> Path:
    """The folder with the predictions of the cases that a fold was not trained on.

    Raises EvaluationError where there are none or some are missing, naming these, and UnknownNameError for an unknown fold.
    """
    if fold == ALL:
        raise EvaluationError(f"fold {ALL} was trained on every case: no case is left to evaluate it on.")
    trained = open_model(model)
    _, expected = trained.splits.fold(fold)
    folder = fold_folder(model, fold) / VALIDATION_FOLDER
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: not found. The predictions are made at the end of: {trained.remake()} -f {fold}")
    missing = sorted(set(expected) - set(label_files(folder, what="predictions")))
    if missing:
        raise EvaluationError(
            f"{folder}: {len(missing)} of {len(expected)} held-out cases have no prediction: {listed(missing)}. "
            f"Make them with: {trained.remake()} -f {fold}"
        )
    return folder


def evaluation_at(path: Path, *, otherwise: Callable[[Path], Evaluation]) -> Evaluation:
    """The evaluation stored at a JSON file; a folder of predictions is evaluated anew by `otherwise`."""
    if path.is_dir():
        return otherwise(path)
    return load(Evaluation, path, remake=REMAKE)
