import numpy as np
import pytest

from autoseg.errors import ArtefactError
from autoseg.preprocessing.previous_maps import is_map_stored, open_map, save_map
from autoseg.preprocessing.run import stored_as
from tests.preprocessing.making import configuration, plan

CLASSES = np.arange(24).reshape(2, 3, 4)


def test_a_map_comes_back_small_and_counts_as_made_from_just_that(tmp_path):
    save_map(tmp_path, "a", CLASSES, made_from="x")
    found = open_map(tmp_path, "a", shape=(2, 3, 4))
    np.testing.assert_array_equal(found, CLASSES)
    assert found.dtype == np.int8
    assert is_map_stored(tmp_path, "a", made_from="x")
    assert not is_map_stored(tmp_path, "a", made_from="y")
    assert not is_map_stored(tmp_path, "b", made_from="x")


def test_many_classes_take_two_bytes(tmp_path):
    save_map(tmp_path, "a", CLASSES * 10, made_from="x")
    np.testing.assert_array_equal(open_map(tmp_path, "a", shape=(2, 3, 4)), CLASSES * 10)


def test_a_map_that_is_cut_off_gone_or_of_another_shape_names_case_and_command(tmp_path):
    save_map(tmp_path, "a", CLASSES, made_from="x")
    with pytest.raises(ArtefactError, match=r"case a: .* has the shape \(2, 3, 4\), its case \(2, 3, 5\)"):
        open_map(tmp_path, "a", shape=(2, 3, 5))
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes()[:-3])
    assert not is_map_stored(tmp_path, "a", made_from="x")
    with pytest.raises(ArtefactError, match=r"case a: .* bytes, expected .*autoseg_train"):
        open_map(tmp_path, "a", shape=(2, 3, 4))
    path.unlink()
    assert not is_map_stored(tmp_path, "a", made_from="x")
    with pytest.raises(ArtefactError, match="is missing"):
        open_map(tmp_path, "a", shape=(2, 3, 4))
    (tmp_path / "a.json").write_text("{")
    assert not is_map_stored(tmp_path, "a", made_from="x")


def test_configurations_that_want_the_same_cases_share_them():
    full, low = configuration(), configuration(spacing_mm=(2.0, 2.0, 2.0)).model_copy(update={"name": "low"})
    second = full.model_copy(update={"name": "second", "previous_stage": "low", "batch_size": 7})
    chosen = plan(full).model_copy(update={"configurations": {"low": low, "test": full, "second": second}})
    assert [stored_as(chosen, name) for name in ("low", "test", "second")] == ["low", "test", "test"]
