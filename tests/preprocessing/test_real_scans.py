import numpy as np
import pytest
from skimage.transform import resize

from autoseg.data.image import Geometry, Image
from autoseg.data.readers import read_image, read_labels
from autoseg.preprocessing.case import prepare, restore
from autoseg.preprocessing.resampling import separate_axis
from tests.preprocessing.making import configuration, plan

pytestmark = pytest.mark.real_data


def part(image, labels, box):
    """A part of a scan: whole ones would take seconds."""
    voxels = image.voxels[(slice(None), *box)]
    geometry = image.geometry
    return Image(voxels, Geometry(voxels.shape[1:], geometry.spacing_mm, geometry.affine)), labels[box]


def test_slices_of_an_anisotropic_ct_are_resized_like_pictures(shared_data):
    folder = shared_data / "small" / "spleen_ct"
    scan = read_image(folder / "image.nii.gz")
    classes, _ = read_labels(folder / "label.nii.gz")
    spacing = scan.geometry.spacing_mm
    wanted = (spacing[0], spacing[1] * 0.8, spacing[2] * 0.8)
    assert separate_axis(spacing, wanted) == 0
    config = configuration(spacing_mm=wanted)
    prepared = prepare(scan, plan(config), config, classes=classes)
    assert prepared.image.shape[1] == scan.voxels.shape[1]
    middle = len(classes) // 2
    inside = (0, middle, *prepared.placement.box[1:])
    expected = resize(
        scan.voxels[inside].astype(float), prepared.image.shape[2:], order=3, mode="edge", anti_aliasing=False
    )
    np.testing.assert_allclose(prepared.image[0, middle], expected, atol=1e-5 * np.abs(expected).max())
    assert set(np.unique(prepared.classes)) - {-1} <= set(np.unique(classes)) | {0}
    volume_mm3 = [(found > 0).sum() * np.prod(size) for found, size in ((classes, spacing), (prepared.classes, wanted))]
    assert abs(volume_mm3[1] / volume_mm3[0] - 1) < 0.02


def test_a_brain_is_cropped_to_its_skull_and_put_back(shared_data):
    folder = next(path for path in sorted((shared_data / "BraTS2018").rglob("*_flair.nii*"))).parent
    images = [read_image(next(folder.glob(f"*_{name}.nii*"))) for name in ("flair", "t1", "t1ce", "t2")]
    labels, _ = read_labels(next(folder.glob("*_seg.nii*")))
    whole = Image(np.concatenate([image.voxels for image in images]), images[0].geometry)
    scan, classes = part(whole, labels, (slice(50, 90), slice(None), slice(None)))
    config = configuration(scheme="zscore", use_mask=True, channels=4)
    prepared = prepare(scan, plan(config, orientation="RAS", transpose=(1, 2, 0)), config, classes=classes)
    inside = prepared.classes >= 0
    assert 0.2 < inside.mean() < 0.8
    assert not prepared.image[:, ~inside].any()
    for channel in prepared.image:
        assert abs(channel[inside].mean(dtype=np.float64)) < 1e-3
        assert abs(channel[inside].std(dtype=np.float64) - 1) < 1e-3
    np.testing.assert_array_equal(restore(np.maximum(prepared.classes, 0), prepared.placement), classes)


def test_a_picture_goes_through_a_two_dimensional_configuration(shared_data):
    image = read_image(sorted((shared_data / "em_membrane_2d" / "images").iterdir())[0])
    config = configuration(spacing_mm=(1.0, 1.0), scheme="zscore", channels=len(image.voxels))
    prepared = prepare(image, plan(config), config)
    assert prepared.image.shape == image.voxels.shape
    assert abs(prepared.image.std() - 1) < 1e-3
