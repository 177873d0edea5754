"""What all commands share: how a function becomes a command, how errors end it, how progress is shown."""

import functools
import json
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from autoseg.cli.early import begin
from autoseg.cli.folds import spread
from autoseg.errors import AutosegError, PredictionError, RepeatedError
from autoseg.progress import SILENT, Progress

T = TypeVar("T")

USER_AT_FAULT = 2
AUTOSEG_AT_FAULT = 1
INTERRUPTED = 130


def command_line(function: Callable[..., None]) -> Callable[[], None]:
    """A program that parses the command line for `function` and calls it.

    The program ends with code 0 when done, 2 with one message when the user's input is at fault, 1 with a traceback and
    the place of its log when autoseg is, and 130 when interrupted.
    """
    app = _app(no_args_is_help=False)
    app.command(cls=_Command)(ending_well(function))
    return app


def command_group(**functions: Callable[..., None]) -> Callable[[], None]:
    """A program with one subcommand for each of `functions`, by its name; all end as those of `command_line` do."""
    app = _app(no_args_is_help=True)
    for name, function in functions.items():
        app.command(name, cls=_Command)(ending_well(function))
    return app


def _app(*, no_args_is_help: bool) -> typer.Typer:
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        no_args_is_help=no_args_is_help,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


class _Command(TyperCommand):
    """A command whose folds may follow one option; typer's own options take one value each."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line."""
        return super().parse_args(ctx, spread(args))


def ending_well(function: Callable[..., None]) -> Callable[..., None]:
    """The same function, with every exception turned into a message and an exit code."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> None:
        begin()
        _show_warnings()
        try:
            function(*arguments, **options)
        except AutosegError as error:
            if not isinstance(error, RepeatedError):
                _say(f"error: {error}")
            raise typer.Exit(USER_AT_FAULT) from error
        except KeyboardInterrupt as interruption:
            _say(f"interrupted{': ' if str(interruption) else ''}{interruption}")
            raise typer.Exit(INTERRUPTED) from interruption
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            traceback.print_exc()
            _say(f"error: this is a fault of autoseg, not of your input. Please report it with {_log_of(error)}")
            raise typer.Exit(AUTOSEG_AT_FAULT) from error

    return wrapped


def _say(message: str) -> None:
    sys.stderr.write(message.rstrip() + "\n")


def _show_warnings() -> None:
    """Let warnings of the library appear as one line each on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("autoseg")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


def _log_of(error: Exception) -> Path:
    """A new file with the command, the versions and the traceback."""
    from importlib.metadata import version

    path = Path(tempfile.gettempdir()) / f"autoseg-error-{time.strftime('%Y%m%d-%H%M%S')}.log"
    versions = ", ".join(f"{name} {version(name)}" for name in ("autoseg", "torch", "numpy"))
    lines = [" ".join(sys.argv), f"Python {sys.version}", versions, *traceback.format_exception(error)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def end_with_failures(errors: Sequence[str], *, total: int, action: str) -> None:
    """End the command with code 2 where some of `total` cases failed; each message is shown, and how many there are."""
    if not errors:
        return
    if total == 1:
        raise PredictionError(errors[0])
    for error in errors:
        _say(f"error: {error}")
    _say(f"error: {len(errors)} of {total} cases could not be {action}.")
    raise typer.Exit(USER_AT_FAULT)


def print_json(value: Any) -> None:
    """Print `value` as one JSON document for machines."""
    print(json.dumps(value, indent=1))


def print_json_line(value: Any) -> None:
    """Print `value` as one line of JSON, at once: whoever reads it may be waiting.

    Raises KeyboardInterrupt once nobody does, as behind `| head`.
    """
    try:
        print(json.dumps(value), flush=True)
    except BrokenPipeError:
        # What is left to be written would fail again at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise KeyboardInterrupt("the output is not read any more") from None


def bars(quiet: bool) -> Progress:
    """Progress bars with the time left: drawn on a terminal, as lines elsewhere, not at all when `quiet`."""
    if quiet:
        return SILENT
    return _Bars() if sys.stderr.isatty() else _Lines()


class _Bars:
    """Bars on a terminal; several at a time stand below each other."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._display = Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True))
        self._open = 0

    def __reduce__(self) -> tuple[type["_Lines"], tuple[()]]:
        """In another process there is no terminal."""
        return _Lines, ()

    def track(self, items: Iterable[T], *, description: str, total: int) -> Iterator[T]:
        """Yield `items` while a bar grows."""
        with self._shown():
            task = self._display.add_task(description, total=total)
            for item in items:
                yield item
                self._display.advance(task)

    @contextmanager
    def _shown(self) -> Iterator[None]:
        if self._open == 0:
            self._display.start()
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if self._open == 0:
                self._display.stop()
                for task in self._display.task_ids:  # finished bars stay on the screen, but are not drawn again
                    self._display.remove_task(task)


class _Lines:
    """A line at the end, and one every few seconds in between."""

    interval_s = 10.0

    def track(self, items: Iterable[T], *, description: str, total: int) -> Iterator[T]:
        """Yield `items` and say now and then how far they are."""
        start = said = time.monotonic()
        # The first item also starts processes and loads libraries, so the estimate goes by those after it.
        first_s, done = start, 0
        for done, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - said >= self.interval_s and done < total:
                said = now
                _say(f"{description}: {done}/{total}{_left(done, total, since_first_s=now - first_s)}")
            if done == 1:
                first_s = now
        if total:
            _say(f"{description}: {done}/{total} done in {time.monotonic() - start:.1f} s")


def _left(done: int, total: int, *, since_first_s: float) -> str:
    """The time left by the items after the first one; nothing is said before there is one."""
    return f", about {since_first_s / (done - 1) * (total - done):.0f} s left" if done > 1 else ""
