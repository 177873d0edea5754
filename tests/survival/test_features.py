import math

import numpy as np
import pytest
import SimpleITK
from scipy import stats

from autoseg.data.image import Geometry, Image
from autoseg.data.labels import Label, LabelScheme, Region
from autoseg.errors import SurvivalError
from autoseg.survival.definitions import columns_of
from autoseg.survival.features import case_features, region_names
from autoseg.survival.intensity import intensity
from autoseg.survival.position import Brain, find_brain, position
from autoseg.survival.shape import size_and_shape

SCHEME = LabelScheme(
    labels=(Label(name="background", value=0), Label(name="edema", value=2), Label(name="core", value=4)),
    regions=(Region(name="TC", values=(4,)), Region(name="WT", values=(2, 4))),
)


def geometry(shape, spacing=(2.0, 1.0, 1.0)):
    z, y, x = spacing
    return Geometry(shape, spacing, np.diag([x, y, z, 1.0]))  # axes RAS


def head():
    """A brain of 20 x 30 x 40 voxels in a larger image, with a tumour on its right, and what is drawn in it."""
    image = np.zeros((2, 24, 36, 48), dtype=np.float32)
    image[:, 2:22, 3:33, 4:44] = np.random.default_rng(0).normal(100, 10, (2, 20, 30, 40))
    labels = np.zeros((24, 36, 48), dtype=np.uint8)
    labels[8:14, 10:20, 30:40] = 2
    labels[10:12, 12:16, 32:36] = 4
    return image, labels


def test_volumes_shares_and_ratios_are_those_counted_by_hand():
    image, labels = head()
    found = case_features(labels, Image(image, geometry(labels.shape)), scheme=SCHEME, channels=("t1", "t2"))
    assert found["WT_volume_ml"] == pytest.approx(6 * 10 * 10 * 2 / 1000)
    assert found["TC_volume_ml"] == pytest.approx(2 * 4 * 4 * 2 / 1000)
    assert found["TC_share"] == pytest.approx(32 / 600)
    assert found["TC_to_WT_ratio"] == pytest.approx(32 / 600)
    assert (found["WT_height_mm"], found["WT_length_mm"], found["WT_width_mm"]) == (12.0, 10.0, 10.0)
    assert found["WT_components"] == 1


def test_position_is_told_relative_to_the_brain():
    image, labels = head()
    found = case_features(labels, Image(image, geometry(labels.shape)), scheme=SCHEME, channels=("t1", "t2"))
    # The brain's centroid is at x = 23.5, the tumour's at 34.5; half its width is 20.
    assert found["WT_centroid_right"] == pytest.approx(11 / 20)
    assert found["WT_midline_distance_mm"] == pytest.approx(11.0)
    assert found["WT_share_right"] == 1.0
    # The surface nearest to the tumour is that on the right, x = 43, four voxels from its last column.
    assert found["WT_surface_distance_mm"] == pytest.approx(4.0)
    assert found["WT_depth_mm"] == pytest.approx(math.dist((10.5 * 2, 14.5, 34.5), (10 * 2, 14, 43)), abs=0.6)


def test_the_features_do_not_depend_on_how_the_image_is_stored():
    image, labels = head()
    plain = case_features(labels, Image(image, geometry(labels.shape)), scheme=SCHEME, channels=("t1", "t2"))
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])  # LPS: both arrays are flipped along y and x
    flipped = Geometry(labels.shape, (2.0, 1.0, 1.0), affine)
    other = case_features(
        labels[:, ::-1, ::-1], Image(image[:, :, ::-1, ::-1], flipped), scheme=SCHEME, channels=("t1", "t2")
    )
    assert other.keys() == plain.keys()
    assert all(other[name] == pytest.approx(value, rel=1e-5) for name, value in plain.items())


def test_every_column_is_defined_and_every_definition_is_measured():
    image, labels = head()
    found = case_features(labels, Image(image, geometry(labels.shape)), scheme=SCHEME, channels=("t1", "t2"))
    assert region_names(SCHEME) == ("WT", "TC")
    assert {column.name for column in columns_of(("WT", "TC"), ("t1", "t2"))} == set(found)


def test_an_empty_region_has_volume_zero_and_nothing_else():
    image, labels = head()
    labels[labels == 4] = 0
    found = case_features(labels, Image(image, geometry(labels.shape)), scheme=SCHEME, channels=("t1", "t2"))
    assert (found["TC_volume_ml"], found["TC_components"], found["TC_share"], found["TC_to_WT_ratio"]) == (0, 0, 0, 0)
    others = [name for name in found if name.startswith("TC_") and found[name] is not None]
    assert sorted(others) == ["TC_components", "TC_share", "TC_to_WT_ratio", "TC_volume_ml"]


def test_values_that_are_not_declared_and_empty_images_are_refused():
    image, labels = head()
    with pytest.raises(SurvivalError, match=r"holds the value 7 \(600 voxels\)"):
        case_features(np.where(labels > 0, 7, 0), Image(image, geometry(labels.shape)), scheme=SCHEME, channels=("a", "b"))
    with pytest.raises(SurvivalError, match="zero everywhere"):
        case_features(labels, Image(image * 0, geometry(labels.shape)), scheme=SCHEME, channels=("a", "b"))


def test_a_ball_is_round_and_has_the_surface_of_a_sphere():
    z, y, x = np.ogrid[-16:17, -16:17, -16:17]
    found = size_and_shape(z**2 + y**2 + x**2 <= 12**2, spacing_mm=(1.0, 1.0, 1.0))
    assert found["sphericity"] == pytest.approx(1, abs=0.05)
    assert found["surface_mm2"] == pytest.approx(4 * math.pi * 12**2, rel=0.05)
    assert found["elongation"] == pytest.approx(1, abs=0.02)


def test_parts_that_touch_by_a_corner_are_one_component():
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    assert size_and_shape(mask, spacing_mm=(1.0, 1.0, 1.0))["components"] == 2


def test_holes_in_the_brain_belong_to_it():
    voxels = np.zeros((1, 9, 9, 9))
    voxels[0, 1:8, 1:8, 1:8] = 5
    voxels[0, 4, 4, 4] = 0
    brain = find_brain(voxels, spacing_mm=(1.0, 1.0, 1.0))
    assert brain.mask.sum() == 7**3


def test_a_region_across_the_midline_is_shared_by_both_halves():
    brain = Brain(np.ones((6, 6, 6), dtype=bool), (1.0, 1.0, 1.0))
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[2, 2, 1:5] = True
    assert position(mask, brain)["share_right"] == 0.5
    assert position(mask, brain)["midline_distance_mm"] == 0.0


def test_moments_agree_with_scipy():
    values = np.random.default_rng(1).gamma(2, size=500).astype(np.float32)
    found = intensity(values)
    assert found["skewness"] == pytest.approx(stats.skew(values.astype(float)))
    assert found["kurtosis"] == pytest.approx(stats.kurtosis(values.astype(float)))
    assert found["median"] == pytest.approx(float(np.median(values)))


def test_equal_intensities_have_no_skewness():
    assert intensity(np.full(5, 3, dtype=np.float32))["skewness"] is None


@pytest.mark.real_data
@pytest.mark.parametrize("index", [2, *(pytest.param(i, marks=pytest.mark.slow) for i in (0, 1, 3, 4, 5, 6, 7))])
def test_volume_and_shape_of_real_tumours_are_those_of_simpleitk(shared_data, index):
    from autoseg.data.layouts import recognise
    from autoseg.data.readers import read_case, read_labels

    dataset = recognise(shared_data / "BraTS2018")
    case = dataset.cases[index]
    labels, _ = read_labels(case.label_path(dataset.folder))
    image = read_case(case, dataset.folder, channels=dataset.channels)
    found = case_features(labels, image, scheme=dataset.labels, channels=dataset.channels)
    whole = SimpleITK.ReadImage(str(case.label_path(dataset.folder))) > 0
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(whole)
    assert found["WT_volume_ml"] == pytest.approx(shape.GetPhysicalSize(1) / 1000)
    assert found["WT_surface_mm2"] == pytest.approx(shape.GetPerimeter(1), rel=1e-6)
    assert found["WT_sphericity"] == pytest.approx(shape.GetRoundness(1), rel=1e-6)
    assert found["WT_elongation"] == pytest.approx(shape.GetElongation(1), rel=1e-6)
    flair = SimpleITK.ReadImage(str(case.image_paths(dataset.folder)[dataset.channels.index("flair")]))
    inside = SimpleITK.LabelStatisticsImageFilter()
    inside.Execute(flair, whole)
    brain = SimpleITK.GetArrayViewFromImage(flair)[image.voxels.any(axis=0)]
    told = found["WT_flair_mean_z"] * brain.std() + brain.mean()
    assert told == pytest.approx(inside.GetMean(1), rel=1e-3)
