"""Writes golden/help/*.txt, what each command prints for --help, and puts the same texts into docs/cli.md.

Run: python tests/golden/make_help.py
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from autoseg.cli.app import COMMANDS, MODULES

HERE = Path(__file__).parent / "help"
PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
PROGRAMS = ("autoseg", *(f"autoseg_{name}" for name in COMMANDS))
GROUPS = {
    "autoseg_survival": ("features", "train", "predict"),
    "autoseg_benchmark": ("step", "preprocessing", "run", "peer", "hardware", "prediction", "command", "export"),
}
"""Programs with subcommands: the help of each stands below that of the program."""
WIDTH = 100


def help_of(program: str) -> str:
    """What `program --help` prints, and below it the same of each of its subcommands."""
    return "\n".join(_printed(program, *words) for words in ((), *((name,) for name in GROUPS.get(program, ()))))


def _printed(program: str, *words: str) -> str:
    """What `program WORDS --help` prints 100 characters wide, without colours and without spaces at the end of lines."""
    name = "app" if program == "autoseg" else program.removeprefix("autoseg_")
    module = MODULES.get(name, name)
    code = f"import sys; sys.argv = {[program, *words, '--help']!r}; from autoseg.cli.{module} import main; main()"
    unset = {"FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    environment = kept | {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    lines = [line.rstrip() for line in done.stdout.decode().splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def page_with_helps(page: str, helps: dict[str, str]) -> str:
    """The page with each text block that follows `<!-- help PROGRAM -->` replaced by that program's help."""

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}\n```text\n{helps[found[2]]}```"

    return re.sub(r"(<!-- help (\w+) -->)\n```text\n.*?```", block, page, flags=re.DOTALL)


def main() -> None:
    helps = {program: help_of(program) for program in PROGRAMS}
    HERE.mkdir(exist_ok=True)
    for program, text in helps.items():
        (HERE / f"{program}.txt").write_text(text, encoding="utf-8")
    PAGE.write_text(page_with_helps(PAGE.read_text(encoding="utf-8"), helps), encoding="utf-8")


if __name__ == "__main__":
    main()
