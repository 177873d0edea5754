"""How commands end, what they say, and how they show progress."""

import logging
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from autoseg.cli.console import bars, command_line, print_json
from autoseg.errors import DatasetError, unknown_name
from autoseg.progress import SILENT


def ended(function, *words):
    return CliRunner().invoke(command_line(function), list(words))


def test_a_command_that_is_done_ends_with_code_0():
    def fine():
        typer.echo("result")

    done = ended(fine)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "result\n", "")


def test_a_fault_of_the_user_is_one_message_on_standard_error_and_code_2():
    def refuses():
        raise DatasetError("case a: found 1, expected 2. Remove it.")

    done = ended(refuses)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "error: case a: found 1, expected 2. Remove it.\n"


def test_a_fault_of_autoseg_is_a_traceback_the_place_of_a_log_and_code_1(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def breaks():
        raise ZeroDivisionError("deep inside")

    done = ended(breaks)
    assert done.exit_code == 1
    assert "ZeroDivisionError: deep inside" in done.stderr
    (log,) = tmp_path.glob("autoseg-error-*.log")
    assert done.stderr.splitlines()[-1] == (
        f"error: this is a fault of autoseg, not of your input. Please report it with {log}"
    )
    written = log.read_text()
    assert "deep inside" in written
    assert "autoseg 0." in written
    assert "torch" in written


def test_lines_for_a_reader_who_has_gone_end_the_command_as_interrupted_without_a_traceback():
    code = (
        "from autoseg.cli.console import command_line, print_json_line\n"
        "def many():\n"
        "    for number in range(100_000):\n"
        "        print_json_line(number)\n"
        "command_line(many)()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "0\n"
        run.stdout.close()
        assert run.stderr.read() == "interrupted: the output is not read any more\n"
    assert run.returncode == 130


@pytest.mark.parametrize(("what", "shown"), [("", "interrupted\n"), ("saved; go on", "interrupted: saved; go on\n")])
def test_an_interruption_says_what_was_saved_and_ends_with_code_130(what, shown):
    def interrupted():
        raise KeyboardInterrupt(*([what] if what else []))

    done = ended(interrupted)
    assert (done.exit_code, done.stderr) == (130, shown)


def test_a_command_may_end_with_a_code_of_its_own():
    def chooses():
        raise typer.Exit(2)

    assert ended(chooses).exit_code == 2


@pytest.mark.parametrize("words", [("--colour", "red"), ("too", "many"), ("--number", "many")])
def test_a_command_line_that_cannot_be_parsed_ends_with_code_2_and_the_way_to_help(words):
    def takes(number: int = 1) -> None:
        pass

    done = ended(takes, *words)
    assert done.exit_code == 2
    assert "-h" in done.stderr
    assert "Traceback" not in done.stderr


def test_warnings_of_the_library_are_plain_lines_on_standard_error_said_once():
    def warns():
        logging.getLogger("autoseg.part").warning("case a: drifted")

    assert ended(warns).stderr == "case a: drifted\n"
    assert ended(warns).stderr == "case a: drifted\n"


def test_unknown_names_without_a_near_one_list_all():
    assert str(unknown_name("fold", "9", ["0", "1"])) == "unknown fold '9'. Known: 0, 1."
    assert str(unknown_name("model", "x", [])) == "unknown model 'x'. Known: none."


def test_json_is_one_document(capsys):
    print_json({"a": [1, None]})
    assert capsys.readouterr().out == '{\n "a": [\n  1,\n  null\n ]\n}\n'


# Progress


COUNT = "from autoseg.cli.console import bars\nlist(bars(False).track('abc', description='counting', total=3))\n"


def test_progress_is_plain_lines_where_there_is_no_terminal():
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.startswith("counting: 3/3 done in ")
    assert done.stderr.count("\n") == 1


def test_long_work_says_now_and_then_how_far_it_is_and_how_much_is_left(capsys):
    shown = bars(False)
    shown.interval_s = 0.0
    assert list(shown.track("abc", description="counting", total=3)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines[:2]] == ["counting: 1/3", "counting: 2/3"]
    assert lines[0] == "counting: 1/3"  # one item, which may be the slow first, is no measure
    assert lines[1].endswith("s left")
    assert lines[2].startswith("counting: 3/3 done")


def test_progress_is_a_bar_with_the_time_left_on_a_terminal():
    main, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-c", COUNT], stderr=terminal, stdout=subprocess.PIPE, env=environment, text=True
    )
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(main, 4096):
            shown += part
    except OSError:  # what Linux says when the other end of a terminal is closed
        pass
    finally:
        os.close(main)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    text = shown.decode()
    for piece in ("counting", "━", "3/3", "left", "\x1b["):
        assert piece in text


def test_quiet_progress_is_silent():
    assert bars(True) is SILENT


# All commands under one name


def autoseg(*words):
    program = Path(sys.executable).parent / "autoseg"
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_list_of_commands_is_shown_without_one(words):
    done = autoseg(*words)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("plan", "preprocess", "train", "predict", "evaluate", "export", "import", "demo"):
        assert f"\n  {name} " in done.stdout


def test_an_unknown_command_ends_with_code_2_and_the_nearest_name():
    done = autoseg("pln", "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown command 'pln'. Did you mean 'plan'? Known: ")


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert autoseg("--version").stdout == f"autoseg {version('autoseg')}\n"


def test_a_command_behaves_as_the_program_of_its_own(tmp_path):
    done = autoseg("plan", str(tmp_path), "-w", str(tmp_path / "ws"))
    assert done.returncode == 2
    assert "not a data set" in done.stderr
    assert "Usage: autoseg plan " in autoseg("plan", "--help").stdout


def test_an_interrupt_while_a_command_is_still_imported_shows_no_traceback(tmp_path):
    program = tmp_path / "autoseg_slow"
    program.write_text("import autoseg.cli\nimport time\nprint('imported', flush=True)\ntime.sleep(30)\n")
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "imported\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "interrupted\n")


def test_an_interrupt_of_a_command_that_has_begun_lets_it_clear_up(tmp_path):
    program = tmp_path / "autoseg_slow"
    program.write_text(
        "import time\n"
        "from autoseg.cli.console import command_line\n"
        "def work() -> None:\n"
        "    try:\n"
        "        print('begun', flush=True)\n"
        "        time.sleep(30)\n"
        "    finally:\n"
        "        print('cleared up', flush=True)\n"
        "command_line(work)()\n"
    )
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, printed, errors) == (130, "cleared up\n", "interrupted\n")


def test_a_program_that_imports_the_commands_keeps_its_own_interrupts(tmp_path):
    code = "import signal; before = signal.getsignal(2); import autoseg.cli.train; assert signal.getsignal(2) is before"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_nothing_to_do_is_no_line_of_progress(capsys):
    assert list(bars(quiet=False).track([], description="predicting", total=0)) == []
    assert capsys.readouterr().err == ""
