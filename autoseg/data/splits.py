"""Cross-validation splits: which cases a fold trains on and which it is judged on."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.errors import DatasetError, unknown_name

ALL = "all"
"""The fold that trains on every case, and is validated on the same ones."""

SHUFFLE_SEED = 12345


class Fold(BaseModel):
    """Case ids to train on and to validate on, each sorted."""

    model_config = FROZEN
    train: tuple[str, ...]
    validation: tuple[str, ...]


class Splits(BaseModel):
    """The folds of a cross-validation, named "0", "1", ... in order."""

    model_config = FROZEN
    folds: tuple[Fold, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the folds, without "all"."""
        return tuple(str(index) for index in range(len(self.folds)))

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Every case that some fold uses, sorted."""
        return tuple(sorted({id_ for fold in self.folds for id_ in (*fold.train, *fold.validation)}))

    def fold(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids to train on and to validate on in the fold called `name`; "all" has every case in both.

        Raises UnknownNameError for a fold that does not exist.
        """
        if name == ALL:
            return self.case_ids, self.case_ids
        if name not in self.names:
            raise unknown_name("fold", name, (*self.names, ALL))
        fold = self.folds[int(name)]
        return fold.train, fold.validation


def make_splits(case_ids: Sequence[str], folds: int = 5) -> Splits:
    """Splits of `case_ids` equal to nnU-Net's: sorted, shuffled with seed 12345, cut into `folds` runs of equal length.

    With fewer cases than folds there is one fold per case. The first folds get the odd cases. Raises DatasetError for
    fewer than two cases or an id that occurs twice. Source: scikit-learn's KFold(shuffle=True, random_state=12345).
    """
    ids = np.array(sorted(case_ids), dtype=object)
    if len(ids) < 2:
        raise DatasetError(
            f"a cross-validation needs at least two cases with labels, found {len(ids)}. Add labelled cases."
        )
    if len(set(ids)) < len(ids):
        double = next(a for a, b in pairwise(ids) if a == b)
        raise DatasetError(f"case {double}: occurs twice, expected each id once. Rename or remove one of the two.")
    order = np.arange(len(ids))
    # RandomState, though legacy, is what the published folds were drawn with.
    np.random.RandomState(SHUFFLE_SEED).shuffle(order)
    return Splits(folds=tuple(_fold(ids, part) for part in np.array_split(order, min(folds, len(ids)))))


def _fold(ids: np.ndarray, validation: np.ndarray) -> Fold:
    held_out = np.zeros(len(ids), dtype=bool)
    held_out[validation] = True
    return Fold(train=tuple(ids[~held_out]), validation=tuple(ids[held_out]))
