import numpy as np
import pytest

from autoseg.data.labels import Label, LabelScheme, Region, train_on_regions
from autoseg.errors import ArtefactError, WorkspaceError
from autoseg.preprocessing.case import prepare
from autoseg.preprocessing.store import is_stored, open_case, output_locations, record_file, save_case
from tests.preprocessing.making import LABELS, configuration, image, plan

REGIONS = train_on_regions(
    LabelScheme(labels=LABELS.labels, regions=(Region(name="all", values=(2, 4)), Region(name="core", values=(4,))))
)
IGNORING = LabelScheme(labels=(Label(name="background", value=0), Label(name="organ", value=1)), ignore=9)


def prepared(voxels=None, classes=None):
    voxels = np.random.default_rng(0).normal(size=(2, 3, 4, 5)) if voxels is None else voxels
    config = configuration(channels=len(voxels))
    if classes is None:
        classes = np.zeros(voxels.shape[1:], int)
        classes[0, 0, :2] = 1
        classes[2, 3, 4] = 2
    return prepare(image(voxels), plan(config), config, classes=classes)


def test_a_stored_case_comes_back_as_it_was(tmp_path):
    case = prepared()
    save_case(tmp_path, "a", case, labels=LABELS, made_from="x")
    found = open_case(tmp_path, "a")
    np.testing.assert_array_equal(found.image, case.image.astype(np.float16))
    np.testing.assert_array_equal(found.classes, case.classes)
    assert found.image.dtype == np.float16
    assert found.classes.dtype == np.int8
    assert found.placement == case.placement
    assert found.locations[0].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert found.locations[1].tolist() == [[2, 3, 4]]
    assert found.annotated is None


def test_the_image_is_read_from_disk_only_where_it_is_indexed(tmp_path):
    save_case(tmp_path, "a", prepared(), labels=LABELS, made_from="x")
    found = open_case(tmp_path, "a")
    assert isinstance(found.image, np.memmap)
    assert isinstance(found.classes, np.memmap)
    assert not found.image.flags.writeable


def test_values_too_large_for_half_precision_are_stored_in_single(tmp_path):
    save_case(
        tmp_path, "a", prepared(np.full((1, 2, 2, 2), 70_000.0), np.ones((2, 2, 2), int)), labels=LABELS, made_from="x"
    )
    found = open_case(tmp_path, "a")
    assert found.image.dtype == np.float32
    assert found.image.max() == 70_000


def test_classes_that_do_not_occur_have_no_locations(tmp_path):
    save_case(tmp_path, "a", prepared(classes=np.zeros((3, 4, 5), int)), labels=LABELS, made_from="x")
    assert open_case(tmp_path, "a").locations == {}


def test_regions_have_locations_of_all_their_labels():
    classes = np.array([[[1, 2, 0, -1]]], np.int16)
    found = output_locations(classes, REGIONS)
    assert [voxels[:, 2].tolist() for voxels in found] == [[0, 1], [1]]


def test_annotated_voxels_are_all_but_the_ignored_ones(tmp_path):
    classes = np.array([[[0, 1, 2]]])
    save_case(tmp_path, "a", prepared(np.ones((1, 1, 1, 3)), classes), labels=IGNORING, made_from="x")
    found = open_case(tmp_path, "a")
    assert found.annotated[:, 2].tolist() == [0, 1]
    assert found.locations[0][:, 2].tolist() == [1]


@pytest.mark.parametrize(("side", "expected"), [(20, 8000), (30, 10_000), (110, 13_310)])
def test_ten_thousand_or_one_in_a_hundred_locations_are_kept_and_none_twice(side, expected):
    (found,) = output_locations(np.ones((side,) * 3, np.int8), LabelScheme(labels=LABELS.labels[:2]))
    assert len(found) == expected
    assert len(np.unique(found, axis=0)) == expected


def test_locations_are_the_same_each_time():
    classes = np.ones((30, 30, 30), np.int8)
    np.testing.assert_array_equal(output_locations(classes, LABELS)[0], output_locations(classes, LABELS)[0])


def test_many_classes_are_stored_in_sixteen_bits(tmp_path):
    many = LabelScheme(labels=tuple(Label(name=str(value), value=value) for value in range(200)))
    save_case(tmp_path, "a", prepared(np.ones((1, 1, 1, 2)), np.array([[[199, 0]]])), labels=many, made_from="x")
    assert open_case(tmp_path, "a").classes.ravel().tolist() == [199, 0]


def test_a_case_is_up_to_date_only_if_made_from_the_same(tmp_path):
    assert not is_stored(tmp_path, "a", made_from="x")
    save_case(tmp_path, "a", prepared(), labels=LABELS, made_from="x")
    assert is_stored(tmp_path, "a", made_from="x")
    assert not is_stored(tmp_path, "a", made_from="y")


@pytest.mark.parametrize("name", ["image", "classes", "locations"])
def test_a_shortened_or_missing_array_is_noticed_and_named(tmp_path, name):
    save_case(tmp_path, "a", prepared(), labels=LABELS, made_from="x")
    path = tmp_path / "cases" / f"a.{name}.npy"
    path.write_bytes(path.read_bytes()[:-3])
    assert not is_stored(tmp_path, "a", made_from="x")
    with pytest.raises(ArtefactError, match=rf"case a: .*a\.{name}\.npy has \d+ bytes, expected .*autoseg_preprocess"):
        open_case(tmp_path, "a")
    path.unlink()
    with pytest.raises(ArtefactError, match="is missing"):
        open_case(tmp_path, "a")


def test_an_interrupted_case_is_not_taken_for_whole(tmp_path):
    save_case(tmp_path, "a", prepared(), labels=LABELS, made_from="x")
    blocked = tmp_path / "cases" / "a.locations.npy"
    blocked.unlink()
    blocked.mkdir()
    with pytest.raises(WorkspaceError, match="cannot be written"):
        save_case(tmp_path, "a", prepared(), labels=LABELS, made_from="x")
    assert not record_file(tmp_path, "a").exists()
    assert not is_stored(tmp_path, "a", made_from="x")
