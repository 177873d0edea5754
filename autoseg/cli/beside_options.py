"""Options that `autoseg_predict` and `autoseg_ensemble` share, of what is wanted beside label maps above all."""

from typing import Annotated, Any

import typer

Classes = Annotated[
    list[str] | None,
    typer.Option("--classes", help="Probabilities of these classes or regions, by name or value.", metavar="NAMES"),
]
Uncertainty = Annotated[
    bool,
    typer.Option("--uncertainty", help="Write CASE_entropy.nii.gz, CASE_variance.nii.gz and uncertainty.csv as well."),
]
JsonLines = Annotated[bool, typer.Option("--json", help="Print a line for machines as each case is done.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Show no progress.")]


def weights_of_each(member: str) -> Any:
    """The option --weights, a number for each `member`: what the command averages."""
    told = f"What each {member} counts, in their order: 2 1 (default: all the same)."
    return typer.Option("--weights", help=told, metavar="NUMBERS")
