"""Folders of the BraTS challenges since 2017: one folder a patient, one file a sequence."""

from collections.abc import Sequence
from pathlib import Path

from autoseg.data.dataset import Case
from autoseg.data.labels import LabelScheme
from autoseg.data.layouts.found import Found, OtherLayoutError, images_in, in_order, relative, subfolders
from autoseg.data.readers import image_ending, image_stem
from autoseg.data.templates import Template, templates_for


def find(folder: Path, template: Template | None) -> Found:
    """Patients directly in `folder`, or one level below it (HGG and LGG); those without a segmentation are test cases.

    Names of sequences and label values come from the template: the one given, or the one whose file names and folder
    names fit. A sequence that a patient lacks is left for the check to report.
    """
    candidates = templates_for("brats") if template is None else [template]
    patients = _patients(folder, candidates)
    chosen = _best_template(candidates, folder, patients)
    # Beside such patients, a folder with a single sequence is one whose download is incomplete: the check must name it.
    beside = sorted({sibling for parent in {patient.parent for patient in patients} for sibling in subfolders(parent)})
    patients = [patient for patient in beside if _has_sequences(patient, chosen, least=1)]
    cases = [_case(patient, chosen, folder) for patient in patients]
    return Found(
        channels=tuple(channel.name for channel in chosen.channels),
        labels=LabelScheme(labels=chosen.labels),
        cases=in_order(case for case in cases if case.label is not None),
        test_cases=in_order(case for case in cases if case.label is None),
        names=(folder.name, *(patient.name for patient in patients[:1])),
        template=chosen.name,
    )


def find_patient(folder: Path) -> Found:
    """The one patient whose sequences lie directly in `folder`. Raises OtherLayoutError where they do not."""
    candidates = [template for template in templates_for("brats") if _has_sequences(folder, template)]
    if not candidates:
        raise OtherLayoutError("no sequences of one patient")
    chosen = _best_template(candidates, folder.parent, [folder])
    case = _case(folder, chosen, folder.parent)
    return Found(
        channels=tuple(channel.name for channel in chosen.channels),
        labels=LabelScheme(labels=chosen.labels),
        cases=(case,) if case.label is not None else (),
        test_cases=() if case.label is not None else (case,),
        names=(folder.parent.name, folder.name),
        template=chosen.name,
    )


def _patients(folder: Path, candidates: Sequence[Template]) -> list[Path]:
    if not folder.is_dir():
        raise OtherLayoutError("no folder")
    patients = _patients_in(folder, candidates)
    if patients:
        return patients
    groups = {group: _patients_in(group, candidates) for group in subfolders(folder)}
    # A folder with other things beside a BraTS data set is not one.
    if groups and all(groups.values()):
        return [patient for found in groups.values() for patient in found]
    shown = " or ".join(sorted({_shown_suffixes(template) for template in candidates}))
    strange = next((group.name for group, found in groups.items() if not found and any(groups.values())), None)
    but = f", but the folder {strange} holds none" if strange else ""
    raise OtherLayoutError(
        f"no patients' folders with files that end in {shown}, here or in each folder one level below{but}"
    )


def _patients_in(folder: Path, candidates: Sequence[Template]) -> list[Path]:
    return [path for path in subfolders(folder) if any(_has_sequences(path, template) for template in candidates)]


def _best_template(candidates: Sequence[Template], folder: Path, patients: Sequence[Path]) -> Template:
    """Of the templates whose file names fit the most patients, the one whose patterns fit, else the first."""
    most = max(sum(_has_sequences(patient, template) for patient in patients) for template in candidates)
    fitting = [t for t in candidates if sum(_has_sequences(patient, t) for patient in patients) == most]
    names = (patients[0].name, folder.name)
    return next((template for template in fitting if template.matches(names)), fitting[0])


def _has_sequences(patient: Path, template: Template, *, least: int = 2) -> bool:
    """Whether at least so many sequences are there, each of one patient only.

    One sequence alone may be any file called ..._t1. The same image may lie there compressed and not compressed.
    """
    stems = {image_stem(path).lower() for path in images_in(patient)}
    found = [sum(stem.endswith(channel.suffixes) for stem in stems) for channel in template.channels]
    return max(found, default=0) == 1 and sum(found) >= least


def _case(patient: Path, template: Template, root: Path) -> Case:
    images = images_in(patient)
    found = [_with_suffix(images, channel.suffixes) for channel in template.channels]
    ending = image_ending(images[0])
    expected = [patient / f"{patient.name}{channel.suffixes[0]}{ending}" for channel in template.channels]
    label = _with_suffix(images, template.label_suffixes)
    return Case(
        id=patient.name,
        images=tuple(relative(path or name, root) for path, name in zip(found, expected, strict=True)),
        label=None if label is None else relative(label, root),
    )


def _with_suffix(images: Sequence[Path], suffixes: Sequence[str]) -> Path | None:
    """The first image whose name, without ending and in any case, ends in one of the suffixes."""
    return next((path for path in images if image_stem(path).lower().endswith(tuple(suffixes))), None)


def _shown_suffixes(template: Template) -> str:
    return "/".join(channel.suffixes[0] for channel in template.channels)
