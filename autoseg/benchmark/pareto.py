"""A picture of a comparison: Dice against seconds for a case."""

import io
from pathlib import Path

from autoseg.artefacts import written_whole
from autoseg.benchmark.rows import Table, pareto_best
from autoseg.colours import BEATEN, BEST, hexadecimal


def draw_pareto(table: Table, path: Path) -> None:
    """Write a PNG; rows that no other one beats in both are filled and joined. Rows without numbers are left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    best = pareto_best(table.rows)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    longest = max((row.case_s for row in table.rows if row.case_s is not None), default=0.0)
    for row in table.rows:
        if row.mean_dice is None or row.case_s is None:
            continue
        is_left = row.case_s < longest / 2
        colour = hexadecimal(BEST if row.name in best else BEATEN)
        axes.plot(row.case_s, row.mean_dice, "o", color=colour, fillstyle="full" if row.name in best else "none")
        axes.annotate(
            row.name,
            (row.case_s, row.mean_dice),
            textcoords="offset points",
            xytext=(6, 4) if is_left else (-6, 4),
            ha="left" if is_left else "right",
            fontsize=8,
        )
    front = sorted(
        (row.case_s, row.mean_dice)
        for row in table.rows
        if row.name in best and row.case_s is not None and row.mean_dice is not None
    )
    axes.plot([seconds for seconds, _ in front], [dice for _, dice in front], "-", color=hexadecimal(BEST), linewidth=1)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("seconds for a case")
    axes.set_ylabel("mean Dice")
    axes.set_title(f"{table.dataset}: what no other beats is blue", fontsize=10)
    axes.grid(alpha=0.3)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)  # type: ignore[no-untyped-call]
    with written_whole(path) as file:
        file.write(content.getvalue())
