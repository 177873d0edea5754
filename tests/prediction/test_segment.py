"""Images in memory through a predictor: the form they had is the form of the answer, on the same grid."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from autoseg.data.image import Geometry, Image
from autoseg.errors import ImageError, PredictionError
from autoseg.prediction.ensemble import Member
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.settings import Settings
from tests.prediction import small

KNOWN = "tests.prediction.small:brightness"
VOXELS = small.scan(7, 9, 11)
ANSWER = np.where(VOXELS > 2, 9, np.where(VOXELS > 1, 4, 0))
OBLIQUE = np.array([[-0.8, 0.6, 0, 30.0], [0.6, 0.8, 0, -12.5], [0, 0, 2.0, 7.25], [0, 0, 0, 1]])


def predictor(**settings: object) -> Predictor:
    chosen = small.plan(kind=KNOWN, **{"spacing_mm": (2.0, 1.0, 1.0), **settings})
    member = Member(chosen, next(iter(chosen.configurations.values())), (small.network(chosen),))
    return Predictor([member], settings=Settings(precision="fp32", device="cpu"))


def test_an_array_gives_an_array() -> None:
    for array in (VOXELS, VOXELS[None]):
        found = predictor().segment(array, spacing_mm=(2, 1, 1))
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, ANSWER)


def test_an_array_lies_as_the_images_of_the_model_do() -> None:
    # A model trained on LPS images must not flip an array, whatever a network makes of a flipped one.
    random = [
        Predictor(
            [Member(plan, plan.configurations["3d_fullres"], (small.network(plan),))], settings=Settings(device="cpu")
        )
        for plan in (small.plan(orientation=orientation) for orientation in ("RAS", "LPS", "SAR", None))
    ]
    first, *others = (one.segment(VOXELS, spacing_mm=(1, 1, 1)) for one in random)
    assert all(np.array_equal(first, other) for other in others)


def test_a_flat_array_needs_no_spacing() -> None:
    flat = predictor(patch_size=(8, 8), spacing_mm=(1.0, 1.0), name="2d", orientation=None)
    np.testing.assert_array_equal(flat.segment(VOXELS[3]), ANSWER[3])


def test_a_nibabel_image_gives_one_with_its_affine_and_header() -> None:
    given = nib.Nifti1Image(VOXELS.T, OBLIQUE)
    given.set_sform(OBLIQUE, code=4)
    found = predictor().segment(given)
    assert isinstance(found, nib.Nifti1Image)
    np.testing.assert_array_equal(np.asanyarray(found.dataobj).T, ANSWER)
    assert found.affine.tobytes() == given.affine.tobytes()
    assert (found.header["sform_code"], found.get_data_dtype()) == (4, np.uint8)


def test_a_simpleitk_image_gives_one_on_its_grid() -> None:
    given = SimpleITK.GetImageFromArray(VOXELS)
    given.SetSpacing((1.0, 1.0, 2.0))
    given.SetOrigin((3.5, -7.25, 11.0))
    given.SetDirection((0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1))
    found = predictor().segment(given)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(found), ANSWER)
    assert (found.GetSpacing(), found.GetOrigin(), found.GetDirection()) == (
        given.GetSpacing(),
        given.GetOrigin(),
        given.GetDirection(),
    )


def test_channels_may_come_as_a_list_or_in_one_image() -> None:
    two = predictor(channels=("T1", "T2"))
    nothing = np.ones_like(VOXELS)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    listed = [nib.Nifti1Image(one.T, affine) for one in (VOXELS, nothing)]
    together = nib.Nifti1Image(np.stack([VOXELS.T, nothing.T], axis=-1), affine)
    vector = SimpleITK.GetImageFromArray(np.stack([VOXELS, nothing], axis=-1), isVector=True)
    vector.SetSpacing((1.0, 1.0, 2.0))
    np.testing.assert_array_equal(np.asanyarray(two.segment(listed).dataobj).T, ANSWER)
    np.testing.assert_array_equal(np.asanyarray(two.segment(together).dataobj).T, ANSWER)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(two.segment(vector)), ANSWER)
    np.testing.assert_array_equal(two.segment([VOXELS, nothing], spacing_mm=(2, 1, 1)), ANSWER)


def test_an_image_of_autoseg_gives_one() -> None:
    given = Image(VOXELS[None], Geometry(VOXELS.shape, (2.0, 1.0, 1.0), np.diag([1.0, 1.0, 2.0, 1.0])))
    found = predictor().segment(given)
    assert found.geometry is given.geometry
    np.testing.assert_array_equal(found.voxels[0], ANSWER)


def test_what_is_not_understood_is_said() -> None:
    with pytest.raises(ImageError, match=r"spacing_mm=\(z, y, x\)"):
        predictor().segment(VOXELS)
    with pytest.raises(ImageError, match="three numbers"):
        predictor().segment(VOXELS, spacing_mm=(1, 1))
    with pytest.raises(ImageError, match="type PosixPath is not understood"):
        predictor().segment(Path("x"))
    with pytest.raises(ImageError, match="spacing of channel 1 is 1 x 1 x 1"):
        predictor().segment([nib.Nifti1Image(VOXELS.T, np.diag([1, 1, n, 1])) for n in (2, 1)])
    with pytest.raises(PredictionError, match="the image has 2 channels; the model expects 1"):
        predictor().segment(np.stack([VOXELS] * 2), spacing_mm=(2, 1, 1))


@pytest.mark.parametrize("spacing", [(2, 1, 1), [2.0, 1.0, 1.0], np.array([2.0, 1.0, 1.0])])
def test_a_voxel_size_may_come_in_any_sequence(spacing: object) -> None:
    np.testing.assert_array_equal(predictor().segment(VOXELS, spacing_mm=spacing), ANSWER)


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, float("nan")), ("a", 1, 1), 1.0])
def test_what_is_no_voxel_size_is_refused(spacing: object) -> None:
    with pytest.raises(ImageError, match="expected three numbers above 0"):
        predictor().segment(VOXELS, spacing_mm=spacing)


@pytest.mark.parametrize("kind", [np.complex64, object])
def test_voxels_that_are_no_real_numbers_are_refused(kind: type) -> None:
    with pytest.raises(ImageError, match="expected plain integers or real numbers"):
        predictor().segment(VOXELS.astype(kind), spacing_mm=(2, 1, 1))


def test_a_predictor_opens_models_named_as_text_and_none_is_refused(tmp_path: Path) -> None:
    model = small.write_small_model(tmp_path / "model", small.plan(kind=KNOWN, spacing_mm=(2.0, 1.0, 1.0)))
    np.testing.assert_array_equal(Predictor.open(str(model)).segment(VOXELS, spacing_mm=(2, 1, 1)), ANSWER)
    with pytest.raises(PredictionError, match="no model was named"):
        Predictor.open()
