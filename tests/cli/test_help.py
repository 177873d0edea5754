"""Help texts are part of the interface: a change shows here, and is accepted with `python tests/golden/make_help.py`."""

import re
from pathlib import Path

import pytest

from autoseg.cli.app import COMMANDS
from tests.golden.make_help import HERE, PAGE, PROGRAMS, help_of, page_with_helps

REMAKE = "run: python tests/golden/make_help.py"


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_as_stored(program):
    assert help_of(program) == (HERE / f"{program}.txt").read_text(encoding="utf-8"), REMAKE


def test_the_page_of_commands_shows_the_stored_helps():
    page = PAGE.read_text(encoding="utf-8")
    stored = {program: (HERE / f"{program}.txt").read_text(encoding="utf-8") for program in PROGRAMS}
    assert page_with_helps(page, stored) == page, REMAKE
    assert all(f"<!-- help {program} -->" in page for program in PROGRAMS)


def test_every_installed_program_is_a_command_and_has_its_help_stored():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    # Python 3.10 has no reader for TOML.
    assert set(re.findall(r'^(autoseg\w*) = "autoseg\.cli', project, re.MULTILINE)) == set(PROGRAMS)
    assert {f"autoseg_{name}" for name in COMMANDS} | {"autoseg"} == set(PROGRAMS)
