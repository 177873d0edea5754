"""The sections of a report: each a function from the artefacts to what it shows; none where there is nothing to show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoseg.report import section_run, section_scores, section_survival
from autoseg.report.blocks import Block
from autoseg.report.sources import Sources


@dataclass(frozen=True)
class Section:
    """A part of the report: `name` is its address on the page, `make` gives its blocks."""

    name: str
    title: str
    make: Callable[[Sources], Sequence[Block]]


SECTIONS: tuple[Section, ...] = (
    Section("problems", "Could not be read", section_run.problems),
    Section("scores", "Scores", section_scores.cross_validation),
    Section("pictures", "Worst, median and best case", section_scores.overlays),
    Section("cases", "Every case", section_scores.per_case),
    Section("confusion", "Confusion between labels", section_scores.confusion),
    Section("volumes", "Volumes", section_scores.volumes),
    Section("survival", "Survival", section_survival.survival),
    Section("training", "Training", section_run.training),
    Section("data", "Data set", section_run.data),
    Section("decisions", "Decisions", section_run.decisions),
    Section("costs", "Seconds and memory", section_run.costs),
    Section("environment", "Environment", section_run.environment),
)
"""The page, from top to bottom; a section without blocks is left out."""
