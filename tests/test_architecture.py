"""The structure of the package: imports go one way, commands start quickly, files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from autoseg.cli import app

PACKAGE = Path(__file__).parents[1] / "autoseg"

# A part may import parts that stand before it in this list, and itself.
ORDER = [
    ["errors", "extend", "artefacts", "progress", "colours", "resources"],
    ["workspace", "parallel", "lock", "csv_table"],
    ["data"],
    ["fingerprint"],
    ["planning"],
    ["preprocessing"],
    ["pooling"],
    ["networks", "losses", "augmentation"],
    ["training"],
    ["prediction"],
    ["interchange"],
    ["cascade"],
    ["evaluation"],
    ["validation", "survival"],
    ["selection", "report"],
    ["viewer"],
    ["testing", "demo"],
    ["benchmark"],
    ["cli"],
]
RANK = {part: rank for rank, parts in enumerate(ORDER) for part in parts}
COMMANDS = ["app", *(app.MODULES.get(name, name) for name in app.COMMANDS)]
"""Modules of all commands."""


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(file: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {module.split(".")[1] for module in modules if module.startswith("autoseg.")}


MODULES = [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_imports_only_earlier_stages(file):
    later = {part for part in imported_parts(file) if RANK[part] > RANK[part_of(file)]}
    assert not later, f"{file.relative_to(PACKAGE)} imports later stages: {sorted(later)}"


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_stays_readable(file):
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 320, "look for the second thing this module knows"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[1].lineno if documented and len(node.body) > 1 else node.body[0].lineno
            assert node.end_lineno - first < 55, f"{node.name} is long: look for the second thing it does"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_comes_without_the_heavy_libraries(command):
    code = (
        "import sys, time\n"
        f"sys.argv = ['autoseg_{command}', '--help']\n"
        f"from autoseg.cli.{command} import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'scipy', 'sklearn', 'SimpleITK', 'nibabel', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.stderr.write(str(time.process_time()))\n"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-X", "utf8", "-c", code], capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout
        seconds.append(float(done.stderr))
    # Seconds of the processor since the interpreter began: tests may share the machine with other work.
    assert min(seconds) < 0.5
