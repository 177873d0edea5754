"""Regions of nnU-Net's models, where they are not painted as this package would paint them."""

from autoseg.data.labels import LabelScheme
from autoseg.planning.plan import Decision
from autoseg.planning.regions import hidden_labels, order_of_painting

_BECAUSE = "as nnU-Net paints them, in the order of dataset.json"


def about_order(labels: LabelScheme) -> tuple[Decision, ...]:
    """The order in which regions are painted, where it is not outer ones first or does not give every label back."""
    if labels.target != "regions":
        return ()
    members = {value for region in labels.regions for value in region.values}
    hidden = hidden_labels(labels, sorted(members))
    if labels.painting == "outer_first" and not hidden:
        return ()
    names = {label.value: label.name for label in labels.labels}
    lost = [f"{names[value]} ({value}) would come out as {back}" for value, back in hidden.items()]
    because = "; ".join([_BECAUSE, *lost])
    return (Decision(name="regions", value=order_of_painting(labels), because=because, source="dataset.json of nnU-Net"),)
