"""Names are looked up in tables, or imported."""

import math

import pytest

from autoseg.errors import UnknownNameError, unknown_name
from autoseg.extend import resolve


def test_a_name_in_the_table_wins():
    assert resolve("loss", "a", {"a": 1}) == 1


def test_a_module_and_attribute_are_imported():
    assert resolve("loss", "math:sqrt", {}) is math.sqrt


@pytest.mark.parametrize("name", ["math:nothing", "no_such_module:f"])
def test_what_cannot_be_imported_is_named(name):
    with pytest.raises(UnknownNameError, match=f"loss '{name}' cannot be imported"):
        resolve("loss", name, {})


def test_an_unknown_name_comes_with_the_nearest_and_all_known():
    message = str(unknown_name("configuration", "3d_fulres", ["2d", "3d_fullres"]))
    assert message == "unknown configuration '3d_fulres'. Did you mean '3d_fullres'? Known: 2d, 3d_fullres."
