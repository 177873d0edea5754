"""How a set of predictions compares with its references: an artefact."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from autoseg.artefacts import FROZEN, digest
from autoseg.data.labels import LabelScheme
from autoseg.evaluation.scores import CaseScores
from autoseg.evaluation.settings import Settings
from autoseg.evaluation.summary import Metrics, Summary, summarise, summary

EVALUATION_FORMAT = 2


class Stratum(BaseModel):
    """The cases with one value in the column by which an evaluation is split, summarised like all cases."""

    model_config = FROZEN
    value: str
    cases: tuple[str, ...]
    regions: dict[str, Metrics]
    labels: dict[str, Metrics]
    foreground_regions: Metrics
    foreground_labels: Metrics


class Evaluation(BaseModel):
    """How a set of predictions compares with its references.

    `regions` and `labels` summarise each structure over the cases; `foreground_regions` and `foreground_labels`
    summarise the means of these structures, so that `mean` there is the mean over structures and `undefined` the number
    of structures without a mean. `accuracy` and `mean_iou` are over all labels, background included. `strata` repeat the
    summaries for each value of the column `stratified_by`. `extra` are predictions without a reference, `missing` are
    references without a prediction that were left out because the user asked for it. `made_from` maps "labels" to the
    digest of the label scheme.
    """

    model_config = FROZEN
    format: int = EVALUATION_FORMAT
    predictions: str
    references: str
    scheme: LabelScheme
    settings: Settings
    metrics: tuple[str, ...]
    cases: tuple[CaseScores, ...]
    regions: dict[str, Metrics]
    labels: dict[str, Metrics]
    foreground_regions: Metrics
    foreground_labels: Metrics
    accuracy: Summary
    mean_iou: Summary
    stratified_by: str | None
    strata: tuple[Stratum, ...]
    extra: tuple[str, ...]
    missing: tuple[str, ...]
    made_from: dict[str, str]

    @property
    def structures(self) -> dict[str, Metrics]:
        """The summaries of the regions where the data set has some, else of the labels."""
        return self.regions or self.labels

    @property
    def over_structures(self) -> Metrics:
        """The summaries of the means of these structures."""
        return self.foreground_regions or self.foreground_labels


def summed_up(
    cases: Sequence[CaseScores],
    *,
    scheme: LabelScheme,
    settings: Settings,
    metrics: Sequence[str],
    predictions: str,
    references: str,
    extra: Sequence[str] = (),
    missing: Sequence[str] = (),
    strata: Mapping[str, str] | None = None,
    stratified_by: str | None = None,
) -> Evaluation:
    """The evaluation of `cases`; `strata` maps each case's id to its value in the column `stratified_by`."""
    regions, foreground_regions = summarise([case.regions for case in cases])
    labels, foreground_labels = summarise([case.labels for case in cases])
    return Evaluation(
        predictions=predictions,
        references=references,
        scheme=scheme,
        settings=settings,
        metrics=tuple(metrics),
        cases=tuple(cases),
        regions=regions,
        labels=labels,
        foreground_regions=foreground_regions,
        foreground_labels=foreground_labels,
        accuracy=summary([case.accuracy for case in cases]),
        mean_iou=summary([case.mean_iou for case in cases]),
        stratified_by=stratified_by,
        strata=_strata(cases, strata or {}),
        extra=tuple(extra),
        missing=tuple(missing),
        made_from={"labels": digest(scheme)},
    )


def _strata(cases: Sequence[CaseScores], values: Mapping[str, str]) -> tuple[Stratum, ...]:
    found = []
    for value in sorted(set(values.values())):
        own = [case for case in cases if values[case.id] == value]
        if own:
            regions, foreground_regions = summarise([case.regions for case in own])
            labels, foreground_labels = summarise([case.labels for case in own])
            found.append(
                Stratum(
                    value=value,
                    cases=tuple(case.id for case in own),
                    regions=regions,
                    labels=labels,
                    foreground_regions=foreground_regions,
                    foreground_labels=foreground_labels,
                )
            )
    return tuple(found)
