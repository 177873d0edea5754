"""Foreground intensities of a data set: a small summary of each case, mixed so that every case weighs the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN

SUMMARY_VALUES = 2000
"""Values that stand for the distribution of one channel in one case."""


class IntensityStatistics(BaseModel):
    """Intensities of one channel in the foreground of all cases, each case weighing the same."""

    model_config = FROZEN
    mean: float
    median: float
    deviation: float = Field(ge=0)
    lowest: float
    highest: float
    percentile_00_5: float
    percentile_99_5: float


@dataclass(frozen=True, eq=False)
class IntensitySummary:
    """The foreground of one case: exact moments and extremes of each channel, and a table of quantiles.

    `table` is (channels, SUMMARY_VALUES); its entries stand for the shares given by `shares()`.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    table: NDArray[np.float32]


def shares() -> NDArray[np.float64]:
    """The share of a case's voxels that each entry of a summary table stands for; they add up to 1.

    Narrow in both tails, where percentiles are read off: 0.08 % in the middle, 0.01 % at the 0.5th percentile.
    """
    return np.diff(_levels())


def _levels() -> NDArray[np.float64]:
    return np.sin(np.linspace(0, np.pi / 2, SUMMARY_VALUES + 1)) ** 2


def summarise(foreground: NDArray[np.generic]) -> IntensitySummary:
    """The summary of the foreground voxels (channels, voxels) of one case; needs at least one voxel.

    Every table entry is a value that occurs: the one in the middle of its share. Reading a percentile off the table
    errs by at most half a share in rank.
    """
    levels = _levels()
    middles = (levels[:-1] + levels[1:]) / 2
    ranks = np.minimum((middles * foreground.shape[1]).astype(np.int64), foreground.shape[1] - 1)
    tables, moments = [], []
    for channel in foreground:
        ordered = np.sort(channel)
        tables.append(ordered[ranks].astype(np.float32))
        moments.append((channel.mean(dtype=np.float64), channel.var(dtype=np.float64), ordered[0], ordered[-1]))
    mean, variance, lowest, highest = np.array(moments, dtype=np.float64).T
    return IntensitySummary(mean=mean, variance=variance, lowest=lowest, highest=highest, table=np.stack(tables))


def join(channels: Sequence[IntensitySummary]) -> IntensitySummary:
    """One summary of all channels of a case, from one of each."""
    return IntensitySummary(
        mean=np.concatenate([one.mean for one in channels]),
        variance=np.concatenate([one.variance for one in channels]),
        lowest=np.concatenate([one.lowest for one in channels]),
        highest=np.concatenate([one.highest for one in channels]),
        table=np.concatenate([one.table for one in channels]),
    )


def mix(summaries: Sequence[IntensitySummary]) -> tuple[IntensityStatistics, ...]:
    """Statistics of each channel over the cases summarised (at least one), as if each gave the same number of voxels.

    Mean, deviation and extremes are exact; percentiles err by at most 0.04 % in rank, 0.006 % at the outer ones where
    cases resemble each other.
    """
    mean = np.stack([summary.mean for summary in summaries])
    second = np.stack([summary.variance for summary in summaries]) + (mean - mean.mean(axis=0)) ** 2
    weights = np.tile(shares(), len(summaries)) / len(summaries)
    found = []
    for channel in range(mean.shape[1]):
        values = np.concatenate([summary.table[channel] for summary in summaries])
        low, median, high = weighted_quantiles(values, weights, levels=(0.005, 0.5, 0.995))
        found.append(
            IntensityStatistics(
                mean=float(mean[:, channel].mean()),
                median=median,
                deviation=float(np.sqrt(second[:, channel].mean())),
                lowest=float(min(summary.lowest[channel] for summary in summaries)),
                highest=float(max(summary.highest[channel] for summary in summaries)),
                percentile_00_5=low,
                percentile_99_5=high,
            )
        )
    return tuple(found)


def weighted_quantiles(
    values: NDArray[np.floating], weights: NDArray[np.floating], *, levels: Sequence[float]
) -> list[float]:
    """For each level the smallest of the `values` that, with those below it, makes up that share of all `weights`."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    places = np.searchsorted(reached, np.array(levels) * reached[-1])
    return [float(values[order[min(place, len(order) - 1)]]) for place in places]
