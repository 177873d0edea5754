"""What a report says about how a model came about: data, decisions, training, costs and environment."""

import platform
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from autoseg.artefacts import digest
from autoseg.data.dataset import Dataset
from autoseg.errors import number_of
from autoseg.fingerprint.fingerprint import Fingerprint
from autoseg.report.blocks import Block, Cell, Facts, Picture, Table, Text, cells, number_cell, number_text
from autoseg.report.curves import draw_curves
from autoseg.report.sources import Epoch, Sources


def problems(sources: Sources) -> list[Block]:
    """What could not be read, first of all: nothing is left out in silence."""
    return [Text(problem) for problem in sources.problems]


def data(sources: Sources) -> list[Block]:
    """The data set and its fingerprint."""
    facts = _described(sources.dataset) if sources.dataset is not None else []
    fingerprint = sources.fingerprint
    if fingerprint is None or not fingerprint.cases:
        return [Facts(facts)] if facts else []
    facts.append(("median share left by cropping", f"{fingerprint.median_relative_size:.3f}"))
    return [Facts(facts), _sizes(fingerprint), *_intensities(fingerprint)]


def _described(dataset: Dataset) -> list[tuple[str, str]]:
    """What the data set is said to be."""
    scheme = dataset.labels
    return [
        ("data set", dataset.name),
        ("cases", f"{len(dataset.cases)} to train on, {len(dataset.test_cases)} to test on"),
        ("channels", ", ".join(dataset.channels)),
        ("labels", ", ".join(f"{label.name} ({label.value})" for label in scheme.foreground)),
        ("regions", ", ".join(f"{one.name} = {'+'.join(map(str, one.values))}" for one in scheme.regions) or "none"),
        ("ignored value", str(scheme.ignore) if scheme.ignore is not None else "none"),
        ("licence", dataset.licence or "not stated"),
    ]


def _sizes(fingerprint: Fingerprint) -> Table:
    cases = fingerprint.cases
    rows = [
        _span("voxels", np.array([case.shape for case in cases], dtype=np.float64), decimals=0),
        _span("spacing, mm", np.array([case.spacing_mm for case in cases]), decimals=3),
        _span("voxels after cropping", np.array([case.shape_after_crop for case in cases], dtype=np.float64), decimals=0),
    ]
    return Table("Size of the training cases (z, y, x)", ("", "least", "median", "most"), rows)


def _intensities(fingerprint: Fingerprint) -> list[Block]:
    """Those of the foreground, channel by channel; nothing where no case has any."""
    rows = [
        [Cell(name), *(number_cell(value, 1) for value in (one.mean, one.deviation, one.lowest, one.median, one.highest))]
        for name, one in zip(fingerprint.channels, fingerprint.intensities, strict=False)
    ]
    headings = ("channel", "mean", "SD", "least", "median", "most")
    return [Table("Intensities in the foreground", headings, rows)] if rows else []


def decisions(sources: Sources) -> list[Block]:
    """What the plan decided, and why."""
    if sources.plan is None:
        return []
    rows = [cells(one.name, one.value, one.because, one.source) for one in sources.plan.decisions]
    return [Table("Every automatic choice", ("what", "value", "because", "source"), rows)]


def training(sources: Sources) -> list[Block]:
    """The curves of all folds, and how each ended."""
    trained = [fold for fold in sources.folds if fold.history]
    blocks: list[Block] = []
    if trained:
        last = [f"fold {fold.name}: {number_of(len(fold.history), 'epoch')}, {_last(fold.history[-1])}" for fold in trained]
        caption = "Dice and IoU of random validation patches (thin) and of whole held-out cases (thick)."
        alt = f"Curves of loss, Dice, IoU and learning rate over epochs. {'; '.join(last)}."
        blocks.append(Picture(draw_curves(trained), alt, caption))
    rows = [
        [
            Cell(fold.name),
            Cell("yes" if fold.card.finished else "no"),
            Cell(str(fold.card.epochs)),
            Cell(str(fold.card.steps)),
            number_cell(fold.card.train_loss, 4),
            number_cell(fold.card.mean_pseudo_dice, 4),
            Cell(fold.card.ended_early or ""),
        ]
        for fold in sources.folds
        if fold.card is not None
    ]
    headings = ("fold", "finished", "epochs", "steps", "last loss", "last pseudo-Dice", "ended early")
    return [*blocks, Table("Trainings", headings, rows)] if rows else blocks


def costs(sources: Sources) -> list[Block]:
    """Seconds and memory of each stage, as they were written down."""
    rows = []
    for fold in sources.folds:
        if fold.card is not None:
            peak = max((row.get("memory_bytes") or 0 for row in fold.history), default=0)
            rows.append([Cell(f"training of fold {fold.name}"), number_cell(fold.card.seconds, 1), _gigabytes(peak)])
        if fold.prediction is not None:
            stage = f"prediction of {number_of(len(fold.prediction.cases), 'held-out case')} of fold {fold.name}"
            rows.append([Cell(stage), number_cell(fold.prediction.seconds, 1), Cell("–")])
    if sources.prediction is not None:
        stage = f"prediction of {number_of(len(sources.prediction.cases), 'case')}"
        rows.append([Cell(stage), number_cell(sources.prediction.seconds, 1), Cell("–")])
    blocks: list[Block] = []
    if rows:
        blocks.append(Table("Seconds, and the most memory, where they were written down", ("stage", "s", "GB"), rows))
    reports = [fold.prediction for fold in sources.folds] + [sources.prediction]
    cases = [case for report in reports if report is not None for case in report.cases if case.seconds]
    stages = list(dict.fromkeys(stage for case in cases for stage in case.seconds))
    if stages:
        means = [float(np.mean([case.seconds[s] for case in cases if s in case.seconds])) for s in stages]
        row = [Cell("mean of a case, s"), *(number_cell(mean, 3) for mean in means)]
        blocks.append(Table(f"Prediction of a case, over {number_of(len(cases), 'case')}", ("", *stages), [row]))
    return blocks


def environment(sources: Sources) -> list[Block]:
    """Versions, seeds and digests: what it takes to make the same again."""
    facts: list[tuple[str, str]] = []
    if sources.card is not None:
        facts += [("model", f"{sources.card.name}, configuration {sources.card.configuration}")]
        facts += [("autoseg that trained it", sources.card.autoseg_version)]
        facts += [(f"digest of the {name} it was made from", value) for name, value in sources.card.made_from.items()]
    for fold in sources.folds:
        if fold.card is not None:
            card = fold.card
            where = f"torch {card.torch_version}, {card.device}, {card.precision}, {card.threads} threads"
            facts.append((f"fold {fold.name}", f"{where}, {card.parameters} parameters"))
    if sources.plan is not None:
        facts += [("seed of training", str(sources.plan.training.seed)), ("digest of the plan", digest(sources.plan))]
    if sources.prediction is not None:
        facts += [
            (f"digest of the {name} of the prediction", value) for name, value in sources.prediction.made_from.items()
        ]
    if sources.evaluation is not None:
        one = sources.evaluation
        facts += [(f"digest of the {name} evaluated", value) for name, value in one.made_from.items()]
        facts += [("tolerance of the NSD", f"{one.settings.tolerance_mm:g} mm"), ("predictions", one.predictions)]
    own = f"autoseg {version('autoseg')}, Python {platform.python_version()}, numpy {np.__version__}"
    facts.append(("page written by", own))
    return [Facts(facts)]


def _span(name: str, values: NDArray[np.float64], *, decimals: int) -> list[Cell]:
    parts = (values.min(axis=0), np.median(values, axis=0), values.max(axis=0))
    return cells(name, *(" x ".join(f"{float(value):.{decimals}f}" for value in part) for part in parts))


def _last(row: Epoch) -> str:
    return f"last loss {number_text(row.get('train_loss'), 3)}, last Dice {number_text(row.get('mean_pseudo_dice'), 3)}"


def _gigabytes(count: int) -> Cell:
    return Cell(f"{count / 2**30:.2f}", float(count)) if count else Cell("–")
