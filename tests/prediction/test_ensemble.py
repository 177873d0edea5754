from pathlib import Path

import pytest

from autoseg.errors import ArtefactError, PredictionError, UnknownNameError
from autoseg.prediction.ensemble import choose_models, open_ensemble
from autoseg.training.model_folder import weights_file
from autoseg.workspace import DatasetFolder
from tests.prediction import small


def trained(tmp_path: Path, **configurations: str) -> DatasetFolder:
    """A data set with one model for each name, of the configuration given."""
    folder = DatasetFolder(tmp_path / "Small")
    for name, configuration in configurations.items():
        small.write_small_model(folder.models / name, small.plan(name=configuration))
    return folder


def names(folder: DatasetFolder, **chosen: list[str]) -> list[str]:
    return [path.name for path in choose_models(folder, **chosen)]


def test_without_a_wish_the_full_resolution_is_taken_or_the_only_model(tmp_path: Path) -> None:
    assert names(trained(tmp_path / "1", **{"2d": "2d", "3d_fullres": "3d_fullres"})) == ["3d_fullres"]
    assert names(trained(tmp_path / "2", **{"2d": "2d"})) == ["2d"]


def test_without_a_wish_nothing_is_guessed_among_equals(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match=r"several models are trained: 2d, 3d_lowres. Choose with -c"):
        choose_models(trained(tmp_path, **{"2d": "2d", "3d_lowres": "3d_lowres"}))


def test_nothing_trained_yet_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match=r"nothing has been trained yet\. Run: autoseg_train"):
        choose_models(DatasetFolder(tmp_path))


def test_a_configuration_is_found_under_the_name_of_its_model(tmp_path: Path) -> None:
    folder = trained(tmp_path, mine="3d_fullres", **{"2d": "2d"})
    assert names(folder, configurations=["3d_fullres", "2d"]) == ["mine", "2d"]
    assert names(folder, names=["mine"]) == ["mine"]
    assert names(folder, names=[str(folder.models / "2d")]) == ["2d"]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"configurations": ["3d_fulres"]}, "trained configuration '3d_fulres'. Did you mean '3d_fullres'"),
        ({"names": ["3d_ful"]}, "model '3d_ful'. Did you mean '3d_fullres'"),
    ],
)
def test_an_unknown_wish_is_answered_with_the_nearest_name(
    tmp_path: Path, wish: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        choose_models(trained(tmp_path, **{"3d_fullres": "3d_fullres"}), **wish)


def test_all_trained_folds_are_loaded_unless_some_are_named(tmp_path: Path) -> None:
    model = small.write_small_model(tmp_path / "m", small.plan(), folds=("0", "3"))
    assert open_ensemble([model]).folds == ("0", "3")
    assert len(open_ensemble([model]).members[0].networks) == 2
    assert open_ensemble([model], folds=["3"]).folds == ("3",)


def test_an_unknown_fold_names_those_that_exist(tmp_path: Path) -> None:
    model = small.write_small_model(tmp_path / "m", small.plan(), folds=("0", "3"))
    with pytest.raises(UnknownNameError, match=r"fold '1'.*Known: 0, 3"):
        open_ensemble([model], folds=["1"])


def test_the_best_weights_stand_in_for_final_ones_that_are_not_there_and_it_is_said(tmp_path: Path) -> None:
    model = small.write_small_model(tmp_path / "m", small.plan(), which="best")
    assert open_ensemble([model], which="best").notes == ()
    (note,) = open_ensemble([model]).notes
    assert "fold 0 of m has no final weights" in note
    assert "took its best ones" in note


def test_the_digest_is_that_of_the_weights_and_not_of_the_place(tmp_path: Path) -> None:
    first, again, other = (
        small.write_small_model(tmp_path / name, small.plan(), folds=folds)
        for name, folds in (("a", ("0",)), ("b", ("0",)), ("c", ("1",)))
    )
    assert open_ensemble([first]).digest == open_ensemble([again]).digest
    assert open_ensemble([first]).digest != open_ensemble([other]).digest


def test_truncated_weights_are_named_with_the_remedy(tmp_path: Path) -> None:
    model = small.write_small_model(tmp_path / "m", small.plan())
    file = weights_file(model, "0", "final")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ArtefactError, match=r"weights_final.safetensors.*autoseg_train"):
        open_ensemble([model])
