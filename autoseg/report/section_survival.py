"""What a report says about a survival model."""

from autoseg.report.blocks import Block, Cell, Picture, Table, Text, number_cell, number_text
from autoseg.report.sources import Sources
from autoseg.survival.model import SurvivalModel
from autoseg.survival.pictures import CALIBRATION, EFFECTS, KAPLAN_MEIER

SCORES = {
    "c_index": ("C-index", 3),
    "spearman": ("Spearman", 3),
    "accuracy": ("accuracy, 3 classes", 3),
    "mse_days2": ("MSE, days²", 0),
    "median_se_days2": ("median SE, days²", 0),
    "sd_se_days2": ("SD of SE, days²", 0),
    "integrated_brier": ("Brier score", 3),
}


def survival(sources: Sources) -> list[Block]:
    """Out-of-fold scores of every family beside age alone, and the model's pictures."""
    if sources.survival is None:
        return []
    model, folder = sources.survival.model, sources.survival.folder
    blocks: list[Block] = [Text(model.notice), _scores(model)]
    compared = model.validation.against_age
    if compared is not None:
        gap = compared.c_index
        interval = f"{number_text(gap.low, 3)} to {number_text(gap.high, 3)}"
        blocks.append(
            Text(f"C-index minus that of age alone: {number_text(gap.value, 3)} ({interval}); {compared.verdict}.")
        )
    p_value = number_text(model.validation.log_rank_p, 4)
    for name, alt, caption in (
        (
            KAPLAN_MEIER,
            f"Survival curves of three risk groups; log-rank p {p_value}.",
            "Survival by predicted risk, out of fold.",
        ),
        (
            CALIBRATION,
            f"Calibration after a year: {_calibration(model)}.",
            "Predicted and observed share alive after a year.",
        ),
        (EFFECTS, f"Features of the model: {', '.join(model.preparation.columns[:5])}.", "What the model has learned."),
    ):
        if (folder / name).is_file():
            blocks.append(Picture((folder / name).read_bytes(), alt, caption))
    return blocks


def _scores(model: SurvivalModel) -> Table:
    rows = [(one.title, one.scores) for one in model.validation.families]
    rows.append(("automatic choice", model.validation.automatic))
    table = [
        [Cell(title), *(number_cell(scores[name].value, decimals) for name, (_, decimals) in SCORES.items())]
        for title, scores in rows
    ]
    validation = model.validation
    caption = (
        f"Out of fold over {validation.patients} patients, {validation.died} of whom died; fitted to all: {model.family}"
    )
    return Table(caption, ("model", *(heading for heading, _ in SCORES.values())), table, is_sortable=True)


def _calibration(model: SurvivalModel) -> str:
    points = model.validation.calibration
    return "; ".join(f"predicted {point.predicted:.2f}, observed {number_text(point.observed, 2)}" for point in points)
