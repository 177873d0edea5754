"""Options that several parts of `autoseg_benchmark` have, and how they print."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from autoseg.cli.console import print_json
from autoseg.errors import BenchmarkError, unknown_name

if TYPE_CHECKING:
    from pydantic import BaseModel

Result = TypeVar("Result", bound="BaseModel")

Dataset = Annotated[str | None, typer.Argument(help="Planned data set (default: the last).")]
WorkspaceFolder = Annotated[Path | None, typer.Option("-w", "--workspace", help="Where plans and models lie.")]
Peer = Annotated[str | None, typer.Option("--peer", help="Program to measure in turn: nnunet.", metavar="NAME")]
Python = Annotated[Path | None, typer.Option("--python", help="Interpreter of the peer's environment.", metavar="PATH")]
Pairs = Annotated[int, typer.Option("--pairs", min=1, help="How often the two take turns.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Processor cores to use.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result for machines.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Show no progress.")]


def interpreter_of(peer: str | None, python: Path | None) -> Path | None:
    """The interpreter of a peer's environment; None where no peer is named.

    Raises BenchmarkError for an interpreter without a peer and the other way round, UnknownNameError for another peer.
    """
    if peer is None:
        if python is not None:
            raise BenchmarkError("--python names the environment of a peer: say which with --peer nnunet.")
        return None
    if peer != "nnunet":
        raise unknown_name("peer", peer, ("nnunet",))
    if python is None:
        raise BenchmarkError("--peer nnunet: name the interpreter of its environment with --python PATH.")
    return python.absolute()


def show(found: Result, lines: Callable[[Result], Iterable[str]], *, as_json: bool) -> None:
    """Print a result for machines, or as `lines` show it."""
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print("\n".join(lines(found)))
