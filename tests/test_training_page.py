"""docs/training.md lists every setting, recipe, loss and part as the code has them.

After a change of settings: `AUTOSEG_REMAKE_GOLDEN=1 pytest tests/test_training_page.py`.
"""

import os
import re
from pathlib import Path

import pytest

from autoseg.planning import names
from autoseg.planning.plan import NetworkSpec, TrainingSettings
from autoseg.planning.recipes import Recipe, load_recipe, recipe_names

PAGE = Path(__file__).parents[1] / "docs" / "training.md"
BEGIN, END = "<!-- settings -->\n", "<!-- end of settings -->\n"


def shown(value):
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool | str) else f"{value:g}"


def settings_table():
    rows = [
        f"| `{name}` | {shown(field.default)} | {field.description} |"
        for name, field in TrainingSettings.model_fields.items()
    ]
    return "\n".join(["| name | by default | what it is |", "|---|---|---|", *rows, ""])


def test_the_table_of_settings_is_that_of_the_code():
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    found, _, after = rest.partition(END)
    if os.environ.get("AUTOSEG_REMAKE_GOLDEN"):
        PAGE.write_text(before + BEGIN + settings_table() + END + after, encoding="utf-8")
        found = settings_table()
    assert found == settings_table(), "run: AUTOSEG_REMAKE_GOLDEN=1 pytest tests/test_training_page.py"


def test_every_setting_says_what_it_is():
    assert all(field.description for field in TrainingSettings.model_fields.values())


def rows_of(heading):
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in re.findall(r"^\| `.*$", section, flags=re.MULTILINE)]


def test_every_recipe_and_loss_has_its_row():
    assert sorted(name for row in rows_of("Recipes") for name in row) == recipe_names()
    assert {name for row in rows_of("Losses") for name in row} == set(names.LOSSES)


def test_every_part_by_name_stands_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    norms = NetworkSpec.model_fields["norm"].annotation.__args__
    for known in (names.NETWORKS, names.INITIALISATIONS, names.OPTIMISERS, names.SCHEDULES, norms):
        assert all(f"`{name}`" in text for name in known)


def test_the_recipe_that_the_page_shows_is_one():
    (block,) = re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert Recipe.model_validate_json(block).settings("3d_fullres")[0] == "3d_fullres.batch_size=4"


@pytest.mark.parametrize("name", recipe_names())
def test_numbers_of_recipes_stand_on_the_page_as_they_are(name):
    text = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}`"))
    training = load_recipe(name).training
    if "epochs" in training and name != "brats2020":
        assert f"{training['epochs']} epochs" in text
    rate = training["learning_rate"]
    assert name == "brats2020" or any(number in text for number in (f"{rate:g}", f"{rate:.0e}".replace("e-0", "e-")))
