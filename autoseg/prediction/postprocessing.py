"""Rules that correct a label map after the network: what is too small to be true."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN
from autoseg.data.box import nonzero_box
from autoseg.data.image import Spacing
from autoseg.data.labels import LabelScheme
from autoseg.errors import unknown_name

Labels = NDArray[np.integer]


class Rule(BaseModel):
    """What is done to a region or label, called `structure`.

    "largest_component" keeps the largest part that touches by faces, edges or corners; "minimum_component" removes parts
    below `volume_ml`; "replace_small" gives the whole structure the label `value` where it comes to less than `volume_ml`
    (0: background). What is removed becomes background. "threshold" paints a region where its `probability` is above this
    instead of one half; it is for whoever has the probabilities, and leaves label maps alone.
    """

    model_config = FROZEN
    kind: Literal["largest_component", "minimum_component", "replace_small", "threshold"]
    structure: str
    volume_ml: float = Field(default=0.0, ge=0)
    value: int = 0
    probability: float = Field(default=0.5, gt=0, lt=1)

    def __str__(self) -> str:
        match self.kind:
            case "largest_component":
                return f"{self.structure}: only the largest part"
            case "minimum_component":
                return f"{self.structure}: no part below {self.volume_ml:g} ml"
            case "threshold":
                return f"{self.structure}: where its probability is above {self.probability:g}"
            case "replace_small":
                return f"{self.structure}: label {self.value} instead where it is below {self.volume_ml:g} ml"


def corrected(labels: Labels, rules: Sequence[Rule], *, scheme: LabelScheme, spacing_mm: Spacing) -> Labels:
    """A label map (z, y, x) of on-disk values after `rules`, in their order; the input is not changed.

    Raises UnknownNameError for a structure that the scheme does not have.
    """
    found: Labels = labels.copy()
    for rule in (rule for rule in rules if rule.kind != "threshold"):
        _apply(rule, found, values=values_of(rule.structure, scheme), scheme=scheme, spacing_mm=spacing_mm)
    return found


def values_of(structure: str, scheme: LabelScheme) -> tuple[int, ...]:
    """The on-disk values of a region or label."""
    known = {label.name: (label.value,) for label in scheme.foreground} | {r.name: r.values for r in scheme.regions}
    if structure not in known:
        raise unknown_name("region or label", structure, known)
    return known[structure]


def _apply(rule: Rule, labels: Labels, *, values: Sequence[int], scheme: LabelScheme, spacing_mm: Spacing) -> None:
    mask = np.isin(labels, values)
    box = nonzero_box(mask)
    if box is None:
        return
    part, inside = labels[box], mask[box]
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    if rule.kind == "replace_small":
        if inside.sum() * voxel_ml < rule.volume_ml:
            part[inside] = rule.value
        return
    part[inside & ~_kept(inside, rule, voxel_ml)] = scheme.labels[0].value


def _kept(mask: NDArray[np.bool_], rule: Rule, voxel_ml: float) -> NDArray[np.bool_]:
    from scipy import ndimage

    numbers, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    keep = (
        sizes * voxel_ml >= rule.volume_ml if rule.kind == "minimum_component" else np.arange(len(sizes)) == sizes.argmax()
    )
    keep[0] = False
    return np.asarray(keep[numbers])
