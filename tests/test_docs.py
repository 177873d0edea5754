"""README and docs/ say what is true: their code runs, their links lead somewhere, their commands exist."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from autoseg.cli.app import COMMANDS, MODULES
from tests.data.scans import write_json
from tests.fingerprint.made_up import ramp, write_case

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of the languages ("" for none named)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]


@pytest.fixture
def surroundings(tmp_path) -> Path:
    """A folder with the data set that pages speak of, small."""
    shape = (20, 24, 28)
    raw = tmp_path / "Task04_Hippocampus"
    labels = (ramp(shape) > 10).astype(np.uint8)
    cases = [write_case(raw, f"case_{index}", image=ramp(shape), labels=labels) for index in range(5)]
    content = {
        "name": "Small",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "organ"},
        "training": [{"image": case.images[0], "label": case.label} for case in cases],
    }
    write_json(raw / "dataset.json", content)
    (raw / "imagesTs").mkdir()
    shutil.copy(raw / "images" / "case_0.nii.gz", raw / "imagesTs")
    return tmp_path


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_the_python_code_of_a_page_runs_as_a_script(page, surroundings):
    """A block whose first line is a comment with a path is that file; the others together are the script."""
    script = []
    for block in blocks(page, "python"):
        named = re.match(r"# (\S+\.py)\n", block)
        if named:
            file = surroundings / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block)
        else:
            script.append(block)
    # What a page does for minutes is done for a second here.
    code = re.sub(r"time_budget_s=[\d *]+", "time_budget_s=1", "\n".join(script))
    (surroundings / "script.py").write_text(code)
    environment = {name: value for name, value in os.environ.items() if name != "AUTOSEG_WORKSPACE"}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=surroundings, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def headings(page: Path) -> set[str]:
    """The anchors that a page has, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in headings(file), f"{page.name}: {target}"


@cache
def options_of(program: str) -> set[str]:
    name = program.removeprefix("autoseg_")
    command = get_command(import_module(f"autoseg.cli.{MODULES.get(name, name)}").main)
    params = [given for one in (command, *getattr(command, "commands", {}).values()) for given in one.params]
    return {"--help", "-h"} | {option for given in params for option in (*given.opts, *given.secondary_opts)}


def commands_in(text: str) -> list[list[str]]:
    """The calls of autoseg in shell text, each as its words."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a sentence with an apostrophe is no command
            continue
        call: list[str] = []
        for word in [*words, ";"]:
            if word in ("&&", "||", "|", ";"):
                if call and re.fullmatch(r"autoseg(_\w+)?", call[0]):
                    found.append(call)
                call = []
            else:
                call.append(word)
    return found


def shown_commands(page: Path) -> list[list[str]]:
    """Calls in blocks of shell, and in the text between backticks."""
    text = page.read_text(encoding="utf-8")
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    shell = [*blocks(page, "", "bash", "sh", "console"), *re.findall(r"`(autoseg[^`]*)`", outside)]
    return [call for block in shell for call in commands_in(block)]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_and_options_that_a_page_shows_exist(page):
    for program, *words in shown_commands(page):
        if program == "autoseg":
            assert not words or words[0] in {*COMMANDS, "COMMAND", "STAGE", "--help", "--version"}, f"autoseg {words}"
            program, words = (f"autoseg_{words[0]}", words[1:]) if words and words[0] in COMMANDS else ("", [])  # noqa: PLW2901
        if not program or not words:
            assert not program or program.removeprefix("autoseg_") in COMMANDS, program
            continue
        assert program.removeprefix("autoseg_") in COMMANDS, f"{page.name}: {program}"
        options = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
        unknown = options - options_of(program)
        assert not unknown, f"{page.name}: {program} has no {', '.join(unknown)}"


def test_pages_show_commands_at_all():
    assert len(shown_commands(ROOT / "docs" / "cli.md")) >= 15


# Messages


@cache
def texts_of_the_package() -> str:
    """All texts in the code, one a line, with `...` for what is filled in."""
    found = []
    for file in (ROOT / "autoseg").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def quoted_messages() -> list[str]:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*`) \|", page, flags=re.MULTILINE)
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize("message", quoted_messages())
def test_messages_that_the_page_of_errors_quotes_are_those_of_the_code(message):
    for piece in message.split("..."):
        assert piece.strip(" :.,()") in texts_of_the_package(), piece
    assert any(len(piece.strip()) > 6 for piece in message.split("..."))


def test_the_page_of_errors_quotes_many_messages():
    assert len(quoted_messages()) > 20
