import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from autoseg.artefacts import load, save
from autoseg.data.splits import Splits, make_splits
from autoseg.errors import DatasetError, UnknownNameError


@given(st.integers(5, 60))
def test_folds_equal_scikit_learn_with_seed_12345(cases):
    ids = [f"case_{number:03d}" for number in range(cases)]
    expected = KFold(5, shuffle=True, random_state=12345).split(ids)
    splits = make_splits(ids[::-1])
    for fold, (train, validation) in zip(splits.folds, expected, strict=True):
        assert fold.train == tuple(np.array(ids)[train])
        assert fold.validation == tuple(np.array(ids)[validation])


@given(st.integers(2, 40))
def test_every_case_is_validated_once_and_never_while_trained_on(cases):
    ids = [f"{number:02d}" for number in range(cases)]
    splits = make_splits(ids)
    validated = [id_ for fold in splits.folds for id_ in fold.validation]
    assert sorted(validated) == ids
    assert all(sorted(fold.train + fold.validation) == ids for fold in splits.folds)


def test_three_cases_make_three_folds():
    assert make_splits(["a", "b", "c"]).names == ("0", "1", "2")


def test_fold_all_trains_and_validates_on_everything():
    splits = make_splits(["b", "a", "c"])
    assert splits.fold("all") == (("a", "b", "c"), ("a", "b", "c"))


def test_an_unknown_fold_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"unknown fold '5'.*Known: 0, 1, 2, 3, 4, all"):
        make_splits(["a", "b", "c", "d", "e"]).fold("5")


def test_one_case_or_a_double_one_cannot_be_split():
    with pytest.raises(DatasetError, match="at least two"):
        make_splits(["a"])
    with pytest.raises(DatasetError, match="case b: occurs twice"):
        make_splits(["b", "a", "b"])


def test_splits_survive_saving(tmp_path):
    splits = make_splits(["a", "b", "c"])
    save(splits, tmp_path / "splits.json")
    assert load(Splits, tmp_path / "splits.json", remake="x") == splits
