"""The order in which regions are painted, the value each writes, and the proof that every label comes back."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from autoseg.artefacts import FROZEN
from autoseg.data.labels import LabelScheme
from autoseg.errors import LabelError, number_of
from autoseg.planning.plan import Decision


class PaintedRegion(BaseModel):
    """A region in the order of painting (1 is painted first), and what it leaves behind.

    `values` are the labels inside; `writes` is the one it paints, called `label`, with `voxels` in the training set (None
    where nobody has counted).
    """

    model_config = FROZEN
    order: int
    name: str
    values: tuple[int, ...]
    writes: int
    label: str
    voxels: int | None


def painted_regions(labels: LabelScheme, *, label_voxels: Mapping[int, int]) -> tuple[PaintedRegion, ...]:
    """The regions of a scheme that trains on them, first painted first; none for any other scheme."""
    if labels.target != "regions":
        return ()
    names = {label.value: label.name for label in labels.labels}
    found = []
    for order, index in enumerate(labels.paint_order, start=1):
        region = labels.regions[index]
        assert region.writes is not None, "regions that are trained on are complete"
        found.append(
            PaintedRegion(
                order=order,
                name=region.name,
                values=region.values,
                writes=region.writes,
                label=names[region.writes],
                voxels=label_voxels.get(region.writes, 0) if label_voxels else None,
            )
        )
    return tuple(found)


def prove_regions(labels: LabelScheme, *, label_voxels: Mapping[int, int]) -> tuple[int, ...]:
    """The label values that were taken apart into regions and painted back, each of which came back as it was.

    These are the values that occur in the training labels, by their voxels; all declared ones where nobody has counted.
    Raises LabelError naming the first that cannot be recovered.
    """
    declared = [label.value for label in labels.labels]
    tried = sorted(set(label_voxels) & set(declared)) or declared
    for value, back in hidden_labels(labels, tried).items():
        name = next(label.name for label in labels.labels if label.value == value)
        count = f", {number_of(label_voxels[value], 'voxel')} of the training labels," if value in label_voxels else ""
        raise LabelError(
            f"label {name!r} ({value}){count} cannot be recovered from the regions "
            f"{', '.join(region.name for region in labels.regions)}: it would come back as {back}. Add a region that "
            "tells the two apart, or train on labels."
        )
    return tuple(tried)


def hidden_labels(labels: LabelScheme, tried: Sequence[int]) -> dict[int, int]:
    """Those of the values that painting the regions which hold them does not give back, with the value that it gives."""
    painted = labels.decode(labels.paint(labels.region_masks(labels.encode(np.array(tried)))))
    return {value: back for value, back in zip(tried, painted.tolist(), strict=True) if value != back}


def order_of_painting(labels: LabelScheme) -> str:
    """Which region is painted first with which value, which then: "whole writes 2, then core writes 1"."""
    painted = painted_regions(labels, label_voxels={})
    return ", then ".join(f"{region.name} writes {region.writes}" for region in painted)


def about_regions(labels: LabelScheme, *, label_voxels: Mapping[int, int]) -> list[Decision]:
    """The order of painting, the value each region writes, and their loss; nothing where labels are the target.

    Raises LabelError naming a label that cannot be recovered.
    """
    if labels.target != "regions":
        return []
    proved = ", ".join(map(str, prove_regions(labels, label_voxels=label_voxels)))
    painted = painted_regions(labels, label_voxels=label_voxels)
    members = "; ".join(f"{region.name} = {', '.join(map(str, region.values))}" for region in painted)
    whence = "that occurs in the training labels" if label_voxels else "that is declared"
    because = (
        f"outer regions first, each writes the label that no region inside it holds ({members}); proved: every value "
        f"{whence} ({proved}) comes back as it was"
    )
    return [
        Decision(name="regions", value=order_of_painting(labels), because=because, source="autoseg"),
        Decision(name="loss", value="dice_bce", because="a voxel may lie in several regions at once", source="nnU-Net v2"),
    ]
