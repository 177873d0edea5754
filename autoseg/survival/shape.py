"""Size, number and shape of a region in one segmentation."""

import numpy as np
from numpy.typing import NDArray

from autoseg.data.box import nonzero_box
from autoseg.data.formats.itk import simpleitk
from autoseg.data.image import Spacing

Features = dict[str, float | None]


def size_and_shape(mask: NDArray[np.bool_], *, spacing_mm: Spacing) -> Features:
    """Volume, components and shape of a boolean mask (z up, y forward, x right): names as in `definitions.REGION_FEATURES`.

    Surface, roundness, elongation and flatness are those of SimpleITK's LabelShapeStatisticsImageFilter; the box is that of
    the voxels. An empty region has volume 0 and no component; everything else is None.
    """
    volume_ml = float(mask.sum()) * float(np.prod(spacing_mm)) / 1000
    box = nonzero_box(mask)
    if box is None:
        return {"volume_ml": 0.0, "components": 0.0} | dict.fromkeys(SHAPE_NAMES)
    return {
        "volume_ml": volume_ml,
        "components": float(_components(mask[box])),
        **_itk_shape(mask[box], spacing_mm),
        **{
            name: float((part.stop - part.start) * size)
            for name, part, size in zip(EXTENT_NAMES, box, spacing_mm, strict=True)
        },
    }


EXTENT_NAMES = ("height_mm", "length_mm", "width_mm")
"""Edges of the bounding box along (z, y, x)."""

SHAPE_NAMES = (
    "surface_mm2",
    "sphericity",
    "elongation",
    "flatness",
    *EXTENT_NAMES,
)


def _components(mask: NDArray[np.bool_]) -> int:
    from scipy import ndimage

    return int(ndimage.label(mask, structure=np.ones((3, 3, 3)))[1])


def _itk_shape(mask: NDArray[np.bool_], spacing_mm: Spacing) -> Features:
    sitk = simpleitk()
    image = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
    image.SetSpacing(spacing_mm[::-1])
    measured = sitk.LabelShapeStatisticsImageFilter()
    measured.Execute(image)
    values = {
        "surface_mm2": measured.GetPerimeter(1),
        "sphericity": measured.GetRoundness(1),
        "elongation": measured.GetElongation(1),
        "flatness": measured.GetFlatness(1),
    }
    # A region of one voxel or one row has no second axis: ITK answers with infinity or 0 / 0.
    return {name: float(value) if np.isfinite(value) and value > 0 else None for name, value in values.items()}
