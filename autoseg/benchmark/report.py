"""Benchmarks as tables in Markdown."""

from collections.abc import Sequence
from statistics import median

from autoseg.benchmark.budgeted import Comparison
from autoseg.benchmark.hardware import HardwareReport
from autoseg.benchmark.preprocessing import PreprocessingBenchmark
from autoseg.benchmark.rows import METRICS, Row, Score, Table, pareto_best
from autoseg.benchmark.spent import Side, Turns
from autoseg.benchmark.step import StepBenchmark
from autoseg.benchmark.timing import Machine, Times
from autoseg.errors import number_of


def step_lines(found: StepBenchmark) -> list[str]:
    """A table of the programs' steps, and how many times as fast autoseg is."""
    size = " x ".join(map(str, found.patch_size))
    lines = [
        f"{found.dataset}, {found.configuration}: patch {size}, batch {found.batch_size}; {on_machine(found.machine)}",
        "",
        "| | steps | seconds a step, median (quartiles) | steps per second | waiting for data |",
        "|---|---|---|---|---|",
        _row(f"autoseg ({found.precision}, {found.variant})", found.ours),
    ]
    if found.theirs is None:
        return lines
    lines.append(_row(f"{found.peer}, {found.loaders} loader processes", found.theirs))
    tried = ", ".join(f"{count}: {seconds:.2f} s" for count, seconds in found.loader_trials.items())
    return [*lines, "", ratio_line([pair.ratio for pair in found.pairs]), f"Loader processes tried: {tried}"]


def preprocessing_lines(found: PreprocessingBenchmark) -> list[str]:
    """A table of the programs' runs, and how many times as fast autoseg is."""
    spacing = " x ".join(f"{value:.3g}" for value in found.spacing_mm)
    lines = [
        f"{found.dataset}, {found.configuration}: {number_of(found.cases, 'case')} to {spacing} mm; "
        f"{on_machine(found.machine)}",
        "",
        "| | runs | cases per second, median | seconds | most memory of a process |",
        "|---|---|---|---|---|",
    ]
    for name, runs in (("autoseg", found.ours), (found.peer, found.theirs)):
        if runs:
            seconds, peak = median(run.seconds for run in runs), max(run.peak_bytes for run in runs)
            volumes = peak / found.volume_bytes
            lines.append(
                f"| {name} | {len(runs)} | {found.cases / seconds:.2f} | {seconds:.1f} | {peak / 2**20:.0f} MiB = "
                f"{volumes:.1f} of the largest case in float32 |"
            )
    return [*lines, "", ratio_line(found.ratios)] if found.theirs else lines


def turns_lines(found: Turns) -> list[str]:
    """A table of the programs' runs, how many times as fast autoseg is, and how alike the results are."""
    lines = [
        f"{found.what}; {on_machine(found.machine)}",
        "",
        "| | runs | seconds, median (least to most) | seconds of the processor | most memory of a process |",
        "|---|---|---|---|---|",
        *(_side_row(side) for side in (found.ours, found.theirs) if side is not None),
    ]
    if found.theirs is not None:
        processor = ", ".join(f"{ratio:.2f}" for ratio in found.processor_ratios)
        share = found.ours.peak_bytes / found.theirs.peak_bytes
        lines += [
            "",
            f"{ratio_line(found.ratios)}; by seconds of the processor {median(found.processor_ratios):.2f} ({processor}); "
            f"{share:.2f} of the memory.",
        ]
    alike = ", ".join(f"{name}: {value:.5f}" for name, value in found.agreement.items())
    return [*lines, f"Agreement: {alike}"] if alike else lines


def _side_row(side: Side) -> str:
    seconds, used = ([getattr(run, name) for run in side.runs] for name in ("seconds", "processor_s"))
    spans = [f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})" for values in (seconds, used)]
    return f"| {side.name} | {len(side.runs)} | {' | '.join(spans)} | {side.peak_bytes / 2**30:.2f} GiB |"


def table_lines(table: Table) -> list[str]:
    """All rows: a column for each structure's Dice, then means over structures and what it cost."""
    what = f"{table.budget_s:.0f} s of training" if table.budget_s is not None else number_of(table.iterations or 0, "step")
    best = pareto_best(table.rows)
    structures = list(dict.fromkeys(name for row in table.rows for name in row.scores))
    columns = [
        "",
        *(f"Dice {name} (95 %)" for name in structures),
        "mean Dice",
        "sensitivity",
        "specificity",
        "HD95 mm",
        "steps",
        "s a step",
        "s a case",
        "peak memory",
        "parameters",
        "GFLOP a patch",
    ]
    lines = [
        f"{table.dataset}: each row {what}, seed {table.seed}, scored on its held-out cases; {on_machine(table.machine)}",
        "",
        _cells(columns),
        _cells(["---"] * len(columns)),
        *(_cells(_row_cells(row, structures, is_best=row.name in best)) for row in table.rows if row.failed is None),
    ]
    failed = [f"{row.name} failed: {row.failed}" for row in table.rows if row.failed is not None]
    note = ["", "Bold: no other row is as good in less time for a case."] if best else []
    return [*lines, *note, *failed]


def _row_cells(row: Row, structures: Sequence[str], *, is_best: bool) -> list[str]:
    own = [row.scores.get(name, {}) for name in structures]
    averages = [_mean([scores[metric].mean for scores in own if metric in scores]) for metric in METRICS[1:]]
    return [
        f"**{row.name}**" if is_best else row.name,
        *(_interval(scores.get("dice")) for scores in own),
        _number(row.mean_dice, 3),
        *(_number(value, 1 if metric.endswith("_mm") else 3) for metric, value in zip(METRICS[1:], averages, strict=True)),
        _number(row.steps, 0),
        _number(row.step_s, 2),
        _number(row.case_s, 1),
        "-" if row.peak_bytes is None else f"{row.peak_bytes / 2**30:.1f} GiB",
        "-" if row.parameters is None else f"{row.parameters / 1e6:.1f} M",
        _number(row.gflop, 1),
    ]


def _interval(score: Score | None) -> str:
    if score is None or score.mean is None:
        return "-"
    return f"{score.mean:.3f}" + ("" if score.low is None else f" ({score.low:.3f} to {score.high:.3f})")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def comparison_lines(found: Comparison) -> list[str]:
    """Both programs' Dice on the test cases."""
    structures = list(found.rows[0].scores)
    columns = ["", "steps", *(f"Dice {name} (95 %)" for name in structures), "mean Dice", "s a case"]
    rows = [
        [
            row.name,
            _number(row.steps, 0),
            *(_interval(row.scores[name]["dice"]) for name in structures),
            _number(row.mean_dice, 3),
            _number(row.case_s, 2),
        ]
        for row in found.rows
    ]
    heading = f"{found.dataset}, {found.configuration}, {found.cases} test cases: {found.how}"
    return [heading, "", *map(_cells, [columns, ["---"] * len(columns), *rows])]


def hardware_lines(found: HardwareReport) -> list[str]:
    """Speeds of this machine, those of the recorded ones, and what is slow."""
    names = ["this machine", *(reference.name for reference in found.references)]
    columns = [found.speeds, *(reference.speeds for reference in found.references)]
    rows = [
        [field.replace("_", " "), *(f"{getattr(speeds, field):.3g}" for speeds in columns)]
        for field in type(found.speeds).model_fields
    ]
    busy = "" if found.load is None else f", load {found.load:.1f} when it began"
    heading = f"Per second on {on_machine(found.machine)}, {found.precision}{busy}:"
    table = map(_cells, [["", *names], ["---"] * (1 + len(names)), *rows])
    origins = [
        f"{one.name}: {on_machine(one.machine)}, {one.precision}, autoseg {one.autoseg}, measured {one.measured}"
        + ("" if one.load is None else f" with a load of {one.load:.1f}")
        for one in found.references
    ]
    return [heading, "", *table, "", *origins, *(f"Limit: {limit}" for limit in found.limits)]


def ratio_line(ratios: Sequence[float]) -> str:
    """How many times as fast, with the spread of the pairs."""
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"autoseg is {median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f}; pairs: {listed})"


def on_machine(machine: Machine) -> str:
    """The machine in a few words."""
    device = "" if machine.device == "cpu" else f", {machine.device}"
    return f"{machine.processor}, {machine.threads} threads{device}, torch {machine.torch}"


def _row(name: str, times: Times) -> str:
    low, high = times.quartiles_s
    return (
        f"| {name} | {len(times.seconds)} | {times.median_s:.2f} ({low:.2f} to {high:.2f}) | {1 / times.median_s:.3f} "
        f"| {times.waiting_share:.1%} |"
    )
