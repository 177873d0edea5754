"""What is wanted beside label maps: probabilities of which classes, and how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.data.labels import LabelScheme
from autoseg.errors import unknown_name


@dataclass(frozen=True)
class Beside:
    """Whether probabilities are kept, of which `classes` (names or values; none: all), and whether uncertainty is."""

    probabilities: bool = False
    classes: tuple[str, ...] = ()
    uncertainty: bool = False


NOTHING = Beside()


def chosen_channels(classes: Sequence[str], labels: LabelScheme) -> tuple[int, ...]:
    """The output channels that names or values ask for, in the network's order; without any, all of them.

    A region is also known by the value it writes. Raises UnknownNameError for what the scheme does not have.
    """
    names = channel_names(labels)
    values = [str(label.value) for label in labels.labels]
    if labels.target == "regions":
        values = [str(region.writes) for region in labels.regions]
    place = {**{value: index for index, value in enumerate(values)}, **{name: index for index, name in enumerate(names)}}
    for name in classes:
        if name not in place:
            kind = "region" if labels.target == "regions" else "class"
            raise unknown_name(f"{kind} in --classes", name, [f"{n} ({v})" for n, v in zip(names, values, strict=True)])
    return tuple(sorted({place[name] for name in classes})) or tuple(range(len(names)))


def channel_names(labels: LabelScheme) -> tuple[str, ...]:
    """What each output channel stands for: regions, or classes with the background."""
    return tuple(one.name for one in (labels.regions if labels.target == "regions" else labels.labels))


def kept_classes(beside: Beside, labels: LabelScheme) -> tuple[str, ...]:
    """What the volumes of the probabilities stand for, in their order; empty where none are kept."""
    names = channel_names(labels)
    return tuple(names[index] for index in chosen_channels(beside.classes, labels)) if beside.probabilities else ()


def scheme_text(labels: LabelScheme) -> str:
    """A class scheme in a few words: what the outputs are called, and the values that a label map of it holds."""
    names = ", ".join(f"{label.name}={label.value}" for label in labels.labels)
    regions = "; ".join(f"{region.name}={'+'.join(map(str, region.values))}" for region in labels.regions)
    return f"{labels.target} of {names}" + (f" with regions {regions}" if regions else "")
