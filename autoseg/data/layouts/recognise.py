"""From a folder as it was downloaded to a Dataset: layouts are tried in turn, a template adds what files lack."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from autoseg.data.dataset import Dataset
from autoseg.data.labels import LabelScheme, train_on_regions
from autoseg.data.layouts import brats, listing, msd, nnunet, pictures
from autoseg.data.layouts.advice import next_step
from autoseg.data.layouts.found import Found, Layout, OtherLayoutError
from autoseg.data.templates import Template, load_template, templates_for
from autoseg.errors import DatasetError
from autoseg.extend import resolve

LAYOUTS: dict[str, Layout] = {
    "nnunet": nnunet.find,
    "msd": msd.find,
    "listing": listing.find,
    "brats": brats.find,
    "pictures": pictures.find,
}
"""Arrangements of files, in the order in which they are tried."""

_SAME_DATA = {"nnunet": "msd"}
"""Layouts into which data sets are converted without a change of labels, and the layout their templates name."""


def recognise(folder: Path, *, template: str | None = None, name: str | None = None) -> Dataset:
    """The data set in `folder` (or in a list of files), recognised by itself or as the `template` says.

    `name` replaces the folder's name. Raises DatasetError listing each layout tried and what it missed, or naming the file
    and key that are at fault; UnknownNameError for an unknown template.
    """
    place = Path(os.path.abspath(folder.expanduser()))  # noqa: PTH100 (keeps the names of links, which resolve() would follow)
    wanted = None if template is None else load_template(template)
    if not place.exists():
        raise DatasetError(f"{place}: not found. Name the folder of a data set.")
    missed = []
    for layout, find in _layouts_to_try(wanted).items():
        try:
            found = find(place, wanted)
        except OtherLayoutError as reason:
            missed.append(f"  {layout}: {reason}")
            continue
        return _dataset(found, place, layout=layout, name=name, template=wanted or _known_template(found, layout))
    refusal = "not a data set" if wanted is None else f"not a data set as the template {wanted.name!r} expects it"
    raise DatasetError(
        f"{place}: {refusal}. Layouts tried, and what each missed:\n" + "\n".join(missed) + "\n" + next_step(place)
    )


def recognise_patient(folder: Path) -> Dataset:
    """The data set of one patient whose sequences lie directly in `folder`, named after it.

    Raises OtherLayoutError where they do not.
    """
    place = folder.expanduser().absolute()
    found = brats.find_patient(place)
    return _dataset(found, place.parent, layout="brats", name=place.name, template=_known_template(found, "brats"))


def find_dataset(text: str, *, planned: Sequence[str] = ()) -> Path:
    """The path that `text` names: as it stands, under the current folder, or under AUTOSEG_RAW.

    Raises DatasetError that says where was looked, with the nearest name there or among those `planned`.
    """
    path = Path(text).expanduser()
    if path.exists():
        return path
    places = [Path.cwd(), *([Path(os.environ["AUTOSEG_RAW"])] if os.environ.get("AUTOSEG_RAW") else [])]
    for place in places[1:]:
        if (place / text).exists():
            return place / text
    known = [entry.name for place in places if place.is_dir() for entry in place.iterdir() if entry.is_dir()]
    close = get_close_matches(text, [*planned, *known], n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    looked = " and ".join(str(place) for place in places)
    names = f" Planned here: {', '.join(planned)}." if planned else ""
    raise DatasetError(
        f"no data set {text!r} in {looked}.{hint}{names} Give its path, or set AUTOSEG_RAW to the folder it lies in."
    )


def _layouts_to_try(template: Template | None) -> dict[str, Layout]:
    if template is None:
        return LAYOUTS
    converted = [layout for layout, origin in _SAME_DATA.items() if origin == template.layout]
    return {layout: resolve("layout", layout, LAYOUTS) for layout in (*converted, template.layout)}


def _known_template(found: Found, layout: str) -> Template | None:
    """The template that fits by name, and whose channels and label values are those of the files."""
    if found.template is not None:
        return load_template(found.template)
    values = {label.value for label in found.labels.labels}
    candidates = [
        template
        for template in templates_for(_SAME_DATA.get(layout, layout))
        if len(template.channels) == len(found.channels) and {label.value for label in template.labels} == values
    ]
    # The folder's name is more telling than the name in dataset.json, so it is asked first.
    return next((template for name in found.names for template in candidates if template.matches([name])), None)


def _dataset(found: Found, place: Path, *, layout: str, name: str | None, template: Template | None) -> Dataset:
    root = place if place.is_dir() else place.parent
    own_name = place.name if place.is_dir() else place.stem
    return Dataset(
        name=name or own_name,
        root=str(root),
        layout=layout,
        template=None if template is None else template.name,
        channels=found.channels,
        labels=found.labels if template is None else _with_regions(found.labels, template),
        cases=found.cases,
        test_cases=found.test_cases,
        mirror_axes=None if template is None else template.mirror_axes,
        reference=found.reference or ("" if template is None else template.reference),
        licence=found.licence or ("" if template is None else template.licence),
    )


def _with_regions(labels: LabelScheme, template: Template) -> LabelScheme:
    """The labels with the template's regions, unless the files declare their own or other label values."""
    values = {label.value for label in labels.foreground}
    if labels.regions or not template.regions or not all(values.issuperset(r.values) for r in template.regions):
        return labels
    scheme = LabelScheme(labels=labels.labels, regions=template.regions, ignore=labels.ignore)
    return train_on_regions(scheme) if template.target == "regions" else scheme
