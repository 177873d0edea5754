import json
from pathlib import Path

from autoseg.evaluation.papers import latex_table, markdown_table, paper_rows
from tests.evaluation.test_compare import evaluation
from tests.golden.make_schemas import FOLDER, schemas


def test_a_row_holds_the_mean_its_interval_and_how_many_counted():
    rows = paper_rows(evaluation([0.5, 0.7, None], [None, None, None]), ["dice"])
    assert rows[0] == ["", "Dice"]
    assert rows[1] == ["a", "0.600 [0.500, 0.700] (n=2)"]
    assert rows[2] == ["b", "–"]
    assert rows[3][0] == "mean of labels"


def test_latex_escapes_what_it_would_read_as_commands():
    text = latex_table([["", "Dice_1"], ["50 % & more", "0.5"]])
    assert text.splitlines()[0] == r"\begin{tabular}{lr}"
    assert r"50 \% \& more & 0.5 \\" in text
    assert r" & Dice\_1 \\" in text


def test_markdown_aligns_numbers_to_the_right():
    assert markdown_table([["", "Dice"], ["a|b", "0.5"]]) == "|  | Dice |\n| --- | ---: |\n| a\\|b | 0.5 |\n"


def test_the_documented_schemas_are_those_of_the_files():
    # Written anew by: python tests/golden/make_schemas.py
    for name, text in schemas().items():
        assert json.loads(Path(FOLDER / name).read_text(encoding="utf-8")) == json.loads(text)
