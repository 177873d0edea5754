import nibabel
import numpy as np
import pytest

from autoseg.data.image import Geometry
from autoseg.data.readers import read_image, read_labels, write_image, write_labels
from autoseg.errors import ViewerError
from autoseg.viewer.cases import ViewCase
from autoseg.viewer.gather import Named, gather
from autoseg.viewer.opened import open_case
from tests.evaluation.test_evaluate import BRATS
from tests.report.made_up import GRID, SHAPE, tumour
from tests.viewer.made_up import write_patient, write_set


def read(pieces):
    return nibabel.Nifti1Image.from_bytes(b"".join(pieces))


@pytest.fixture
def case(tmp_path):
    write_set(tmp_path, "a", shifts=(1,))
    return ViewCase(
        "a",
        (tmp_path / "images" / "a.nii.gz",),
        prediction=tmp_path / "predictions" / "a.nii.gz",
        reference=tmp_path / "references" / "a.nii.gz",
        maps={"entropy": tmp_path / "maps" / "a_entropy.nii.gz"},
    )


def test_a_case_has_a_layer_for_everything_there_is(case):
    found = open_case(case, scheme=BRATS, channels=("flair",))
    assert [(one.id, one.kind, one.name) for one in found.layers] == [
        ("image-0-0", "image", "flair"),
        ("prediction", "labels", "prediction"),
        ("reference", "labels", "reference"),
        ("difference", "difference", "difference"),
        ("map-0-0", "map", "entropy"),
    ]
    assert not found.notes
    assert [one.name for one in found.classes] == [label.name for label in BRATS.foreground]


def test_layers_hold_what_the_files_hold(case):
    found = open_case(case, scheme=BRATS, channels=("flair",))
    labels, _ = read_labels(case.prediction)
    shown = np.asarray(read(found.content("prediction")).dataobj).T
    assert (shown == BRATS.encode(labels)).all()
    original = nibabel.load(case.images[0])
    image = read(found.content("image-0-0"))
    assert np.asarray(image.dataobj).tolist() == np.asarray(original.dataobj).tolist()
    assert image.affine == pytest.approx(original.affine)
    difference = np.asarray(read(found.content("difference")).dataobj).T
    reference, _ = read_labels(case.reference)
    assert ((difference != 0) == (labels != reference)).all()
    assert read(found.content("map-0-0")).header["cal_max"] == 0.5
    with pytest.raises(ViewerError, match="no layer 'image-7-0'"):
        found.content("image-7-0")


def test_volumes_and_the_first_place_to_look_at_are_worked_out_by_hand(case):
    found = open_case(case, scheme=BRATS, channels=("flair",))
    core = 2 * 3 * 2  # voxels of 1 x 1 x 3 mm
    edema = 4 * 6 * 5 - core
    by_name = dict(zip([one.name for one in found.classes], found.volumes_ml["reference"], strict=True))
    assert sorted(by_name.values()) == pytest.approx(sorted([0, edema * 0.003, core * 0.003]))
    x, y, z = found.focus_mm
    # Moved by one voxel along x, the two differ at the edges of the block and of its core; the edges are larger.
    assert x in (2, 7)
    assert 3 <= y < 9
    assert 6 <= z < 18


def test_label_maps_on_other_grids_are_shown_without_a_difference(case, tmp_path):
    other = Geometry((4, 12, 10), (6.0, 1.0, 1.0), np.diag([1.0, 1.0, 6.0, 1.0]))
    write_labels(case.prediction, tumour()[::2], other)
    found = open_case(case, scheme=BRATS, channels=("flair",))
    assert [one.id for one in found.layers] == ["image-0-0", "prediction", "reference", "map-0-0"]
    assert "different grids (shape 4 x 12 x 10, and 8 x 12 x 10)" in found.notes[0]


def test_what_cannot_be_read_is_a_note_and_the_rest_is_shown(case):
    case.prediction.write_bytes(b"nonsense")
    case.maps["entropy"].write_bytes(b"")
    found = open_case(case, scheme=BRATS, channels=("flair",))
    assert [one.id for one in found.layers] == ["image-0-0", "reference"]
    assert len(found.notes) == 2
    assert "The prediction cannot be shown" in found.notes[0]


def test_values_that_nobody_declared_are_shown_and_named(case):
    write_labels(case.prediction, np.where(tumour() == 2, 7, 0), GRID)
    found = open_case(case, scheme=BRATS, channels=("flair",))
    assert found.classes[-1].name == "7 (not declared)"
    assert found.notes == ("7 occurs in a label map, but is not declared.",)


def test_label_maps_without_an_image_have_an_empty_one_behind_them(case):
    found = open_case(ViewCase("a", prediction=case.prediction), scheme=None, channels=())
    assert [one.id for one in found.layers] == ["blank", "prediction"]
    assert not np.asarray(read(found.content("blank")).dataobj).any()
    assert [one.name for one in found.classes] == ["label_2", "label_4"]


def test_sequences_are_called_by_their_channels_or_by_their_files(tmp_path):
    patient = write_patient(tmp_path / "p")
    images = tuple(sorted(path for path in patient.iterdir() if "seg" not in path.name))
    names = [one.name for one in open_case(ViewCase("p", images), scheme=None, channels=()).layers]
    assert names == ["flair", "t1", "t1ce", "t2"]
    missing = (*images[:2], patient / "p_none.nii.gz", images[3])
    found = open_case(ViewCase("p", missing), scheme=None, channels=("F", "A", "B", "C"))
    assert [one.name for one in found.layers] == ["F", "A", "C"]
    assert "B: " in found.notes[0]


def test_channels_of_one_file_are_layers(tmp_path):
    write_image(tmp_path / "x.nii.gz", np.arange(2 * np.prod(SHAPE)).reshape(2, *SHAPE).astype(np.float32), GRID)
    case = ViewCase("x", (tmp_path / "x.nii.gz",))
    found = open_case(case, scheme=None, channels=("T2", "ADC"))
    assert [(one.id, one.name) for one in found.layers] == [("image-0-0", "T2"), ("image-0-1", "ADC")]
    assert np.asarray(read(found.content("image-0-1")).dataobj).min() == np.prod(SHAPE)
    assert [one.name for one in open_case(case, scheme=None, channels=()).layers] == ["image 0", "image 1"]


def test_sequences_on_other_grids_are_named(tmp_path):
    write_image(tmp_path / "x_a.nii.gz", np.zeros((1, *SHAPE), np.float32), GRID)
    other = Geometry((2, 2, 2), (1.0, 1.0, 1.0), np.eye(4))
    write_image(tmp_path / "x_b.nii.gz", np.zeros((1, 2, 2, 2), np.float32), other)
    found = open_case(ViewCase("x", (tmp_path / "x_a.nii.gz", tmp_path / "x_b.nii.gz")), scheme=None, channels=())
    assert "b lies on another grid than a (shape 2 x 2 x 2, and 8 x 12 x 10)" in found.notes[0]
    assert found.focus_mm is None


def test_a_picture_is_flat_and_has_no_volumes(tmp_path):
    from PIL import Image

    Image.fromarray(np.full((6, 5, 3), 200, np.uint8)).save(tmp_path / "p.png")
    Image.fromarray(np.eye(6, 5, dtype=np.uint8)).save(tmp_path / "m.png")
    found = open_case(ViewCase("p", (tmp_path / "p.png",), reference=tmp_path / "m.png"), scheme=None, channels=())
    assert found.is_flat
    assert [one.id for one in found.layers] == ["image-0-0", "image-0-1", "image-0-2", "reference"]
    assert found.volumes_ml == {}


@pytest.mark.real_data
@pytest.mark.parametrize(
    "place",
    [
        "BraTS2018/Brats18_2013_3_1",
        "Task04_Hippocampus",
        "dicom/FLAIR",
        "em_membrane_2d",
        "small/brain_nrrd",
        "small/spleen_ct",
        "small/torso_ct",
    ],
)
def test_real_scans_of_every_format_are_shown_where_they_lie(shared_data, place):
    collection = gather(Named(str(shared_data / place)), None)
    found = open_case(collection.cases[0], scheme=collection.scheme, channels=collection.channels)
    assert not found.notes
    for layer in found.layers:
        image = read(found.content(layer.id))
        shown = np.asarray(image.dataobj)
        assert shown.max() > shown.min()
        if layer.path is not None and not found.is_flat:
            stored = read_image(layer.path)
            assert image.affine == pytest.approx(stored.geometry.affine, abs=1e-3)
            assert np.allclose(shown.T, stored.voxels[layer.channel], rtol=1e-6)
