"""Self-configuring medical image segmentation: plan, train, predict, evaluate.

The functions here are the ones the commands call; they are imported when first used, so that `import autoseg` is quick.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "plan": "autoseg.planning.run",
    "preprocess": "autoseg.preprocessing.run",
    "train": "autoseg.cascade",
    "Training": "autoseg.training.request",
    "Means": "autoseg.training.request",
    "predict": "autoseg.prediction.run",
    "combine": "autoseg.prediction.combining",
    "evaluate": "autoseg.evaluation.run",
    "Predictor": "autoseg.prediction.predictor",
    "open_workspace": "autoseg.workspace",
    "read_image": "autoseg.data.readers",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'autoseg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
