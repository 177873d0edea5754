"""Pictures of a survival model: survival by predicted risk, calibration, and what each feature does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoseg.artefacts import written_whole
from autoseg.colours import STRUCTURES, hexadecimal
from autoseg.survival.cohort import Cohort
from autoseg.survival.model import RISK_GROUPS, SurvivalModel, feature_effects
from autoseg.survival.scores import CALIBRATION_DAY, Outcome, kaplan_meier
from autoseg.survival.training import risk_groups
from autoseg.survival.validation import Answers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KAPLAN_MEIER, CALIBRATION, EFFECTS = "kaplan_meier.png", "calibration.png", "effects.png"
COLOURS = {name: hexadecimal(STRUCTURES[index]) for name, index in (("high", 5), ("middle", 0), ("low", 4))}
STYLES = {"high": "-", "middle": "--", "low": "-."}
MOST_EFFECTS = 15


def write_pictures(cohort: Cohort, model: SurvivalModel, out_of_fold: Answers, folder: Path) -> None:
    """Write kaplan_meier.png, calibration.png and effects.png; the first two show patients the models had not seen."""
    _draw(folder / KAPLAN_MEIER, lambda axes: _kaplan_meier(axes, cohort, model, out_of_fold))
    _draw(folder / CALIBRATION, lambda axes: _calibration(axes, model))
    _draw(folder / EFFECTS, lambda axes: _effects(axes, model))


def _draw(path: Path, draw: Callable[["Axes"], None]) -> None:
    with _figure() as (figure, axes), written_whole(path) as file:
        draw(axes)
        figure.savefig(file, format="png", dpi=120)


@contextmanager
def _figure() -> Iterator[tuple[Any, "Axes"]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure, figure.add_subplot()


def _kaplan_meier(axes: "Axes", cohort: Cohort, model: SurvivalModel, out_of_fold: Answers) -> None:
    groups = risk_groups(out_of_fold.days, model.group_days)
    for index, name in enumerate(RISK_GROUPS):
        rows = np.flatnonzero(groups == index)
        if len(rows) == 0:
            continue
        part = cohort.taken(rows)
        times, alive = kaplan_meier(Outcome(part.days, part.died))
        label = f"{name} risk ({len(rows)} patients)"
        axes.step(times, alive, where="post", color=COLOURS[name], linestyle=STYLES[name], label=label)
        last_seen = part.days[~part.died]
        if len(last_seen):
            at = np.interp(last_seen, times, alive)
            axes.plot(last_seen, at, "|", color=COLOURS[name], markersize=8)
    p_value = model.validation.log_rank_p
    told = "" if p_value is None else f", log-rank p {'< 0.001' if p_value < 0.001 else f'= {p_value:.3f}'}"
    axes.set(xlabel="days", ylabel="share alive", ylim=(0, 1.02), title=f"Survival by predicted risk, out of fold{told}")
    axes.set_xlim(left=0)
    axes.legend()


def _calibration(axes: "Axes", model: SurvivalModel) -> None:
    points = [(point.predicted, point.observed) for point in model.validation.calibration if point.observed is not None]
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="perfect")
    axes.plot(*zip(*points, strict=True), "o-", color=COLOURS["low"], label="quarters of the patients")
    axes.set(
        xlabel=f"predicted share alive after {CALIBRATION_DAY} days",
        ylabel="observed (Kaplan-Meier)",
        xlim=(0, 1),
        ylim=(0, 1),
        title="Calibration, out of fold",
    )
    axes.legend()


def _effects(axes: "Axes", model: SurvivalModel) -> None:
    effects = feature_effects(model)[:MOST_EFFECTS][::-1]
    names = [effect.feature for effect in effects]
    factors = [effect.factor for effect in effects]
    colours = [COLOURS["low"] if factor >= 1 else COLOURS["high"] for factor in factors]
    axes.barh(names, [factor - 1 for factor in factors], left=1, color=colours)
    axes.axvline(1, color="0.4", linewidth=1)
    axes.set(
        xlabel="predicted days with the feature one standard deviation higher, divided by those of a typical patient",
        title=f"What the {model.family.replace('_', ' ')} model has learned",
    )
    axes.tick_params(axis="y", labelsize=8)
    axes.xaxis.label.set_fontsize(8)
