"""A folder of 2-D pictures with masks: images/NAME.png and labels/NAME.png."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from autoseg.data.dataset import Case
from autoseg.data.labels import LabelScheme
from autoseg.data.layouts.dataset_json import NAME, channel_names, label_scheme, read_json
from autoseg.data.layouts.found import Found, OtherLayoutError, images_in, in_order, relative, subfolders
from autoseg.data.layouts.scan import scan_labels
from autoseg.data.readers import PICTURE_ENDINGS, image_stem, read_header
from autoseg.data.templates import Template

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagestr")
MASK_FOLDERS = ("labels", "label", "masks", "mask", "annotations", "annotation", "segmentations", "labelstr", "gt")
_MASK_SUFFIXES = ("", "_mask", "_label", "_seg", "_gt", "_segmentation")
_COLOURS = ("red", "green", "blue")


def find(folder: Path, template: Template | None) -> Found:
    """Pictures and the masks that bear the same name; pictures without a mask are test cases.

    Labels come from dataset.json or the template where those declare them, else from the values in the masks.
    """
    images, masks = _pictures(folder, IMAGE_FOLDERS), _pictures(folder, MASK_FOLDERS)
    by_name = {image_stem(path): path for path in masks}
    cases = [_case(path, by_name, folder) for path in images]
    used = {case.label for case in cases}
    # A mask without its picture becomes a case whose picture is missing, which the check reports.
    lonely = [path for path in masks if relative(path, folder) not in used]
    cases += [
        Case(id=image_stem(path), images=(relative(images[0].with_name(path.name), folder),), label=relative(path, folder))
        for path in lonely
    ]
    content = read_json(folder / NAME) if (folder / NAME).is_file() else {}
    declared = content if isinstance(content, Mapping) else {}
    return Found(
        channels=_channels(declared, images[0], folder / NAME, template),
        labels=_labels(declared, masks, folder / NAME, template),
        cases=in_order(case for case in cases if case.label is not None),
        test_cases=in_order(case for case in cases if case.label is None),
        names=(folder.name, str(declared.get("name", ""))),
        template="generic_2d",
    )


def _pictures(folder: Path, names: Sequence[str]) -> list[Path]:
    """The pictures in the subfolder that bears one of `names` (in any case)."""
    for below in subfolders(folder) if folder.is_dir() else []:
        if below.name.lower() in names:
            found = [path for path in images_in(below) if path.name.lower().endswith(PICTURE_ENDINGS)]
            if found:
                return found
    raise OtherLayoutError(f"no folder {'/'.join(names[:3])} with pictures ({' '.join(PICTURE_ENDINGS)})")


def _case(image: Path, masks: Mapping[str, Path], root: Path) -> Case:
    stem = image_stem(image)
    mask = next((masks[stem + suffix] for suffix in _MASK_SUFFIXES if stem + suffix in masks), None)
    return Case(id=stem, images=(relative(image, root),), label=None if mask is None else relative(mask, root))


def _channels(declared: Mapping[str, object], image: Path, file: Path, template: Template | None) -> tuple[str, ...]:
    if "channel_names" in declared:
        return channel_names(declared["channel_names"], key="channel_names", file=file)
    if template is not None and template.channels:
        return tuple(channel.name for channel in template.channels)
    colours = read_header(image).channels
    if colours in (1, 3):
        return _COLOURS if colours == 3 else ("grey",)
    return tuple(f"channel_{index}" for index in range(colours))


def _labels(declared: Mapping[str, object], masks: Sequence[Path], file: Path, template: Template | None) -> LabelScheme:
    if "labels" in declared:
        return label_scheme(declared, file)
    if template is not None and template.labels:
        return LabelScheme(labels=template.labels)
    return scan_labels(masks)
