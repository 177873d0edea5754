"""What `autoseg_plan` prints."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from autoseg.cli.console import print_json
from autoseg.data import check as checks
from autoseg.data.check import Problem
from autoseg.errors import number_of
from autoseg.planning import explain as pages
from autoseg.planning.compare import Difference
from autoseg.planning.facts import Facts
from autoseg.planning.gpus import Gpu, Target, size_changes, target
from autoseg.planning.plan import Plan
from autoseg.planning.planner import make_plan
from autoseg.planning.regions import painted_regions
from autoseg.planning.run import Checked, Planned
from autoseg.training.probe import measurements


def has_errors(checked: Checked) -> bool:
    """Whether anything would make training wrong."""
    return checks.has_errors(checked.problems)


def check(checked: Checked, *, as_json: bool, quiet: bool) -> None:
    """What was understood of the data set, and all problems."""
    known = checked.understanding
    if as_json:
        problems = [problem.model_dump(mode="json") for problem in checked.problems]
        print_json({"understood": known.model_dump(mode="json"), "problems": problems})
        return
    if not quiet:
        print(f"{known.name}: {known.layout} layout, template {known.template or 'none'}")
        print(f"  {number_of(known.cases, 'case')} to train on, {known.test_cases} to predict")
        print(f"  channels: {', '.join(known.channels)}")
        if known.shapes is not None and known.spacings_mm is not None:
            is_flat = all(shape[0] == 1 for shape in known.shapes)
            first, axes = (1, "y, x") if is_flat else (0, "z, y, x")
            print(f"  shape ({axes}; smallest / median / largest): {_range([row[first:] for row in known.shapes])}")
            print(f"  spacing in mm ({axes}): {_range([row[first:] for row in known.spacings_mm])}")
        _print_table(
            ("label", "value", "voxels", "cases"),
            [(use.name, str(use.value), str(use.voxels), str(use.cases)) for use in known.labels],
        )
        _print_targets(checked)
    _print_problems(checked.problems)
    errors = sum(problem.severity == "error" for problem in checked.problems)
    warnings = len(checked.problems) - errors
    if not quiet:
        print(f"{errors} errors, {warnings} warnings." if checked.problems else "No problems found.")


def _print_targets(checked: Checked) -> None:
    """Regions with the labels inside, in the order of painting where they are trained on; labels that nobody named."""
    scheme, known = checked.dataset.labels, checked.understanding
    counts = {use.value: use.voxels for use in known.labels if use.voxels}
    painted = painted_regions(scheme, label_voxels=counts)
    if painted:
        print("Trained on regions, painted in this order:")
        head, *rows = pages.region_table(painted)
        _print_table(head, rows)
    elif scheme.regions:
        listed = "; ".join(f"{region.name} = {', '.join(map(str, region.values))}" for region in scheme.regions)
        print(f"Evaluated as regions too: {listed}")
    unnamed = [label.name for label in scheme.foreground if label.name == f"label_{label.value}"]
    if unnamed:
        print(
            f"No file names {', '.join(unnamed[:5])}: named by value. A dataset.json beside the images names labels, as "
            f'{{"labels": {{"background": {scheme.labels[0].value}, "NAME": {unnamed[0].removeprefix("label_")}}}}}.'
        )


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in sorted(problems, key=lambda problem: problem.severity):
        print(f"{problem.severity}: {problem.message}")


def planned(done: Planned, written: Sequence[Path], *, explain: bool, as_json: bool, quiet: bool) -> None:
    """The configurations, where the plan lies and what to run next."""
    if as_json:
        _print_as_json(done.plan, done.facts, explain=explain)
    if as_json or quiet:
        return
    warnings = [problem for problem in done.checked.problems if problem.severity == "warning"]
    _print_problems(warnings[:10])
    if len(warnings) > 10:
        print(f"{number_of(len(warnings) - 10, 'more warning')}: see them with --check")
    _print_plan(done.plan, done.facts, explain=explain)
    state = "already up to date" if done.was_up_to_date else "saved"
    print(f"Plan {state}: {done.checked.folder.plan_file}")
    if done.replaced is not None:
        print(f"The plan that was there is now {done.replaced}")
    _print_written(written)
    print(f"Next: autoseg_train {'3d_fullres' if '3d_fullres' in done.plan.configurations else '2d'}")


def plan_alone(made: Plan, facts: Facts, written: Sequence[Path], *, explain: bool, as_json: bool, quiet: bool) -> None:
    """A plan that was made without images."""
    if as_json:
        _print_as_json(made, facts, explain=explain)
    elif not quiet:
        _print_plan(made, facts, explain=explain)
        _print_written(written)


def _print_written(written: Sequence[Path]) -> None:
    for path in written:
        print(f"Written: {path}")


def compared(found: Sequence[Difference], names: tuple[str, str], *, as_json: bool) -> None:
    """What differs between two plans."""
    if as_json:
        listed = [difference.model_dump(mode="json") for difference in found]
        print_json({"first": names[0], "second": names[1], "differences": listed})
    elif found:
        _print_table(("key", *names), [(one.key, one.first, one.second) for one in found])
    else:
        print(f"{names[0]} and {names[1]} are the same plan.")


def memory(made: Plan, facts: Facts, planned_for: Target, gpus: Sequence[Gpu], *, quiet: bool) -> None:
    """What memory the plan is made for, and what `--gpu-memory auto` changes, or would change."""
    if quiet:
        return
    print(f"Planned for {planned_for.gpu_memory_gb:g} GB: {planned_for.because}.")
    for line in measurements(made):
        print(line)
    other = target(made.preset, asked="auto", gpus=gpus) if gpus else planned_for
    own = target(made.preset, asked=None, gpus=gpus)
    is_auto = planned_for == other != own
    if other.gpu_memory_gb == own.gpu_memory_gb or not (is_auto or planned_for == own):
        return
    default, whole = (
        make_plan(facts, preset=made.preset, gpu_memory_gb=one.gpu_memory_gb, device_bytes=one.device_bytes)
        for one in (own, other)
    )
    lines = size_changes(default, whole) or ["nothing: patch and batch stay the same"]
    print("--gpu-memory auto changed:" if is_auto else f"--gpu-memory auto ({other.gpu_memory_gb:g} GB) would change:")
    for line in lines:
        print(f"  {line}")


def _print_as_json(made: Plan, facts: Facts, *, explain: bool) -> None:
    print_json((pages.explain(made, facts) if explain else made).model_dump(mode="json"))


def _print_plan(made: Plan, facts: Facts, *, explain: bool) -> None:
    if explain:
        print(pages.page(pages.explain(made, facts)))
    head, *rows = pages.table(made)
    _print_table(head, rows)


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*head, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    # Piped output must not be cut to the width of a terminal that is not there.
    console = Console() if Console().is_terminal else Console(width=160)
    console.print(table, highlight=False)


def _range(rows: Sequence[Sequence[float]]) -> str:
    return " / ".join(" x ".join(f"{value:.4g}" for value in row) for row in rows)
