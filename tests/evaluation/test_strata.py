import pytest

from autoseg.errors import EvaluationError, UnknownNameError
from autoseg.evaluation.strata import parse_stratify, read_strata


def table(tmp_path, text):
    path = tmp_path / "patients.csv"
    path.write_text(text)
    return path


def test_the_ids_are_found_in_whatever_column_holds_them(tmp_path):
    path = table(tmp_path, "row,BraTS18ID, Site \n1,a,CBICA\n2,b,TCIA\n3,c,TCIA\n")
    assert read_strata(path, "Site", cases=["a", "b"]) == {"a": "CBICA", "b": "TCIA"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,site\na,X\n", "no site for 1 of 2 cases: b"),
        ("id,site\na,X\nb,\n", "no site for 1 of 2 cases: b"),
        ("id,site\na,X\na,Y\nb,X\n", "case a has two values of site: X and Y"),
        ("id,site\nq,X\n", "no column holds the names of the cases"),
        ("id,site\n", "holds no row"),
    ],
)
def test_a_table_that_does_not_place_every_case_is_refused(tmp_path, text, message):
    with pytest.raises(EvaluationError, match=message):
        read_strata(table(tmp_path, text), "site", cases=["a", "b"])


def test_an_unknown_column_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'site'"):
        read_strata(table(tmp_path, "id,site\na,X\n"), "sites", cases=["a"])
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_strata(tmp_path / "none.csv", "site", cases=["a"])


def test_the_option_is_a_file_and_a_column(tmp_path):
    file, column = parse_stratify("C:/data/patients.csv:grade")
    assert (file.as_posix(), column) == ("C:/data/patients.csv", "grade")
    for wrong in ("patients.csv", "patients.csv:", ":grade"):
        with pytest.raises(EvaluationError, match=r"expected FILE\.csv:COLUMN"):
            parse_stratify(wrong)
