"""What each imaging feature means: one table, which the documentation and every feature file repeat."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from autoseg.artefacts import FROZEN

ITK = "SimpleITK LabelShapeStatisticsImageFilter (Lehmann, Insight Journal 2007)"


@dataclass(frozen=True)
class Definition:
    """A feature's name without region and channel, its unit ("1" for a pure number), what it is, and where from."""

    name: str
    unit: str
    meaning: str
    source: str = "own"


REGION_FEATURES = (
    Definition("volume_ml", "ml", "voxels times the volume of one"),
    Definition("share", "1", "volume divided by that of all labels together"),
    Definition("components", "1", "parts that touch by no face, edge or corner"),
    Definition("surface_mm2", "mm2", "surface estimated from crossings of lines with the border", ITK),
    Definition("sphericity", "1", "surface of a sphere of equal volume divided by the surface", ITK),
    Definition("elongation", "1", "root of the ratio of the largest to the middle principal moment", ITK),
    Definition("flatness", "1", "root of the ratio of the middle to the smallest principal moment", ITK),
    Definition("height_mm", "mm", "edge of the bounding box upwards"),
    Definition("length_mm", "mm", "edge of the bounding box forwards"),
    Definition("width_mm", "mm", "edge of the bounding box to the right"),
    Definition("centroid_superior", "1", "centroid minus the brain's, upwards, in half heights of the brain"),
    Definition("centroid_anterior", "1", "centroid minus the brain's, forwards, in half lengths of the brain"),
    Definition("centroid_right", "1", "centroid minus the brain's, to the right, in half widths of the brain"),
    Definition(
        "share_right", "1", "share of the volume right of the midline (the sagittal plane through the brain's centroid)"
    ),
    Definition("midline_distance_mm", "mm", "distance of the centroid from the midline"),
    Definition("depth_mm", "mm", "distance of the centroid from the brain's surface"),
    Definition("surface_distance_mm", "mm", "smallest distance between the surfaces of region and brain"),
)
RATIO = Definition("ratio", "1", "volume of the first region divided by that of the second")
INTENSITY_FEATURES = (
    Definition("mean", "z", "mean intensity, in standard deviations of the brain from the brain's mean"),
    Definition("deviation", "z", "standard deviation of the intensities"),
    Definition("p10", "z", "10th percentile"),
    Definition("median", "z", "median"),
    Definition("p90", "z", "90th percentile"),
    Definition("skewness", "1", "third standardised moment"),
    Definition("kurtosis", "1", "fourth standardised moment minus 3"),
)


class Column(BaseModel):
    """A column of a feature table. `kind` says what it needs: the segmentation alone, the brain, or intensities."""

    model_config = FROZEN
    name: str
    unit: str
    meaning: str
    source: str
    region: str
    channel: str | None = None
    kind: Literal["shape", "ratio", "intensity"]


def columns_of(regions: tuple[str, ...], channels: tuple[str, ...]) -> tuple[Column, ...]:
    """Every column for these regions and channels: REGION_volume_ml, ..., A_to_B_ratio, REGION_CHANNEL_mean_z, ..."""
    found = [
        Column(
            name=f"{region}_{item.name}",
            unit=item.unit,
            meaning=item.meaning,
            source=item.source,
            region=region,
            kind="shape",
        )
        for region in regions
        for item in REGION_FEATURES
    ]
    found += [
        Column(
            name=ratio_name(first, second), unit=RATIO.unit, meaning=RATIO.meaning, source="own", region=first, kind="ratio"
        )
        for first, second in region_pairs(regions)
    ]
    found += [
        Column(
            name=intensity_name(region, channel, item.name),
            unit=item.unit,
            meaning=item.meaning,
            source=item.source,
            region=region,
            channel=channel,
            kind="intensity",
        )
        for region in regions
        for channel in channels
        for item in INTENSITY_FEATURES
    ]
    return tuple(found)


def region_pairs(regions: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each pair of regions once, the one declared later first: smaller regions come later."""
    return [(first, second) for i, second in enumerate(regions) for first in regions[i + 1 :]]


def ratio_name(first: str, second: str) -> str:
    """The column of the ratio of two volumes."""
    return f"{first}_to_{second}_ratio"


def intensity_name(region: str, channel: str, statistic: str) -> str:
    """The column of an intensity statistic; `_z` says that its unit is a standard deviation of the brain."""
    unit = "_z" if next(item.unit for item in INTENSITY_FEATURES if item.name == statistic) == "z" else ""
    return f"{region}_{channel}_{statistic}{unit}"
