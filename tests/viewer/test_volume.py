import nibabel
import numpy as np
import pytest

from autoseg.data.image import FLAT_SPACING_MM, Geometry
from autoseg.errors import ViewerError
from autoseg.viewer.volume import as_nifti, grey_window, heat_window

SHEARED = np.array([[-2.0, 0.1, 0, 10], [0, 1.5, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])


def read(pieces):
    return nibabel.Nifti1Image.from_bytes(b"".join(pieces))


def grid(shape, affine=SHEARED):
    return Geometry(shape, (3.0, 1.5, 2.0), affine)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.float32, np.int64, np.uint32, np.float64, bool, ">i2"])
def test_what_the_page_gets_is_the_same_image_with_one_affine(kind):
    voxels = np.arange(24).reshape(2, 3, 4).astype(kind)
    image = read(as_nifti(voxels, grid((2, 3, 4))))
    assert np.asarray(image.dataobj).T.tolist() == voxels.astype(float).tolist()
    assert image.affine == pytest.approx(SHEARED)
    assert image.header["sform_code"] == 1
    assert image.header["qform_code"] == 0
    assert image.header.get_zooms() == pytest.approx((2, np.hypot(1.5, 0.1), 3))
    assert image.get_data_dtype().name in ("uint8", "int16", "uint16", "float32")


def test_what_a_graphics_card_cannot_take_is_made_into_what_it_can():
    voxels = np.array([[[1.5, np.nan, np.inf, -np.inf]]])
    assert np.asarray(read(as_nifti(voxels, grid((1, 1, 4)))).dataobj).ravel().tolist() == [1.5, 0, 0, 0]
    large = np.array([[[0, 2**20]]], dtype=np.int32)
    assert np.asarray(read(as_nifti(large, grid((1, 1, 2)))).dataobj).ravel().tolist() == [0, 2**20]


def test_label_maps_say_that_they_are_and_images_how_bright_they_are():
    header = read(as_nifti(np.zeros((1, 2, 2), np.uint8), grid((1, 2, 2)), is_labels=True)).header
    assert header["intent_code"] == 1002
    header = read(as_nifti(np.zeros((1, 2, 2)), grid((1, 2, 2)), window=(-5, 7))).header
    assert (header["cal_min"], header["cal_max"], header["intent_code"]) == (-5, 7, 0)


def test_a_picture_is_as_thick_as_its_pixels():
    flat = Geometry((1, 2, 2), (FLAT_SPACING_MM, 0.5, 0.5), np.diag([0.5, 0.5, FLAT_SPACING_MM, 1]))
    assert read(as_nifti(np.zeros((1, 2, 2), np.uint8), flat)).header.get_zooms() == (0.5, 0.5, 0.5)


def test_air_is_black_and_a_few_bright_voxels_do_not_darken_the_rest():
    voxels = np.zeros((10, 10, 100))
    voxels[:, :, 50:] = np.linspace(100, 200, 5000).reshape(10, 10, 50)
    voxels[0, 0, 99] = 1e6
    low, high = grey_window(voxels)
    assert low == 0
    assert high == pytest.approx(199.5, abs=1)
    assert grey_window(np.full((2, 2, 2), -1000))[0] == -1000
    assert grey_window(np.zeros((2, 2, 2))) == (0, 1)


def test_heat_fades_out_below_a_share_of_the_hottest():
    assert heat_window(np.array([0.1, np.nan, 0.7])) == pytest.approx((0.21, 0.7))
    assert heat_window(np.zeros(3)) == (0.3, 1)


def test_an_axis_longer_than_nifti_can_say_is_refused():
    with pytest.raises(ViewerError, match="32768"):
        as_nifti(np.zeros((1, 1, 32768), np.uint8), grid((1, 1, 32768)))
