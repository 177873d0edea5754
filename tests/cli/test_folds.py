import pytest
from typer.testing import CliRunner

from autoseg.cli.console import command_line
from autoseg.cli.folds import fold_names, numbers, spread
from autoseg.cli.predict import main as predict
from autoseg.cli.train import main as train
from autoseg.errors import PredictionError


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        ("2d -f 0 1 2", "2d -f 0 -f 1 -f 2"),
        ("-f 0 1 2d --epochs 5", "-f 0 -f 1 2d --epochs 5"),
        ("2d --fold 0 1 -d 3", "2d --fold 0 --fold 1 -d 3"),
        ("2d -f 0,1 2 -f all", "2d -f 0,1 -f 2 -f all"),
        ("2d -f all", "2d -f all"),
        ("2d --epochs 5", "2d --epochs 5"),
        ("2d --fold=0 -f -d", "2d --fold=0 -f -d"),
    ],
)
def test_folds_may_follow_one_option(words, parsed):
    assert spread(words.split()) == parsed.split()


def test_commas_part_folds():
    assert fold_names(["0,1", "all", ""]) == ["0", "1", "all"]
    assert fold_names(None) == []


@pytest.mark.parametrize("words", [["2d", "-f", "0", "1"], ["-f", "0", "1", "2d"], ["2d", "-f", "0,1"]])
def test_the_training_command_understands_several_folds(tmp_path, words):
    done = CliRunner().invoke(train, [*words, "-w", str(tmp_path)])
    assert done.exit_code == 2
    assert "no data set has been planned here" in done.output


def test_the_predicting_command_understands_several_folds(tmp_path):
    done = CliRunner().invoke(predict, ["-i", ".", "-o", str(tmp_path), "-f", "0", "1", "-w", str(tmp_path)])
    assert done.exit_code == 2
    assert "no data set has been planned here" in done.output


def test_words_after_other_options_stay_unexpected():
    done = CliRunner().invoke(command_line(lambda name="x": None), ["--name", "0", "1"])
    assert done.exit_code == 2


def test_weights_and_classes_follow_one_option_and_may_be_joined_by_commas_or_be_negative() -> None:
    assert spread(["--weights", "2", "1", "-o", "out"]) == ["--weights", "2", "--weights", "1", "-o", "out"]
    assert spread(["--weights", "2", "-1.5"]) == ["--weights", "2", "--weights", "-1.5"]
    assert spread(["--classes", "liver", "2", "-q"]) == ["--classes", "liver", "--classes", "2", "-q"]
    assert spread(["--weights", "2", "1", "a", "b"]) == ["--weights", "2", "--weights", "1", "a", "b"]
    assert numbers("--weights", ["2,1", "0.5"]) == [2.0, 1.0, 0.5]
    assert numbers("--weights", None) is None
    with pytest.raises(PredictionError, match="--weights: expected numbers such as 2 1, found 'two'"):
        numbers("--weights", ["two"])
