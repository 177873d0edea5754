import pytest

from autoseg.csv_table import read_csv, write_csv
from autoseg.errors import EvaluationError


def test_what_is_written_is_read_again_as_text(tmp_path):
    write_csv(tmp_path / "table.csv", ["id", "value"], [["a, b", 1.5], ['"c"', None]])
    columns, rows = read_csv(tmp_path / "table.csv", error=EvaluationError, advice="")
    assert columns == ("id", "value")
    assert rows == [{"id": "a, b", "value": "1.5"}, {"id": '"c"', "value": ""}]


def test_blanks_a_byte_order_mark_and_cells_too_few_or_too_many_do_no_harm(tmp_path):
    (tmp_path / "table.csv").write_text('\ufeff id , site\n a ,"X, Y",more\nb\n', encoding="utf-8")
    columns, rows = read_csv(tmp_path / "table.csv", error=EvaluationError, advice="")
    assert columns == ("id", "site")
    assert rows == [{"id": "a", "site": "X, Y"}, {"id": "b", "site": ""}]


@pytest.mark.parametrize(("content", "problem"), [(b"", "no rows"), (b"id,site\n", "no rows"), (b"id\n\xff\n", "read")])
def test_what_is_no_table_is_refused_with_the_advice_of_the_caller(tmp_path, content, problem):
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(EvaluationError, match=rf"table\.csv: .*{problem}.* Make it so\."):
        read_csv(tmp_path / "table.csv", error=EvaluationError, advice="Make it so.")
