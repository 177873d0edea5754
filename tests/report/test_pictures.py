import io

import numpy as np
import pytest
from PIL import Image

from autoseg.colours import INVENTED, MISSED, STRUCTURES
from autoseg.errors import EvaluationError, UnknownNameError
from autoseg.report.moving import FRAMES, STEP, splat, surface_of, sweep, turning
from autoseg.report.overlays import draw_overlay
from autoseg.report.run import write_curves, write_gifs, write_overlays, write_report
from autoseg.report.scene import Plane, Scene, largest_disagreement, open_scene, painted, slice_of, views
from autoseg.report.sources import Sources, of_dataset
from autoseg.report.statistics import agreement, confusion_shares
from tests.brats import BRATS
from tests.report.made_up import planned_and_trained


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return of_dataset(*planned_and_trained(tmp_path_factory.mktemp("pictures")))


def scene(predicted, reference, *, is_flat=False, spacing=(1.0, 1.0, 1.0)):
    return Scene("x", None, predicted.astype(np.int16), reference.astype(np.int16), spacing, is_flat)


def ball(radius, shape=(24, 24, 24), centre=12):
    grid = np.indices(shape) - centre
    return ((grid**2).sum(axis=0) <= radius**2).astype(np.int16)


def test_the_planes_go_through_the_largest_disagreement():
    reference, predicted = np.zeros((2, 8, 8, 8), dtype=np.int16)
    predicted[0, 0, 0] = 1
    predicted[4:7, 4:7, 4:7] = 1
    assert largest_disagreement(scene(predicted, reference)) == (5, 5, 5)
    assert largest_disagreement(scene(reference, reference)) in {(3, 3, 3), (4, 4, 4)}


def test_a_difference_says_what_was_invented_and_what_was_missed():
    reference = np.array([[[0, 1, 1, 0]]])
    predicted = np.array([[[1, 1, 0, 0]]])
    found = dict(views(scene(predicted, reference, is_flat=True), Plane("picture", 0, 1, 1), 0))
    grey = np.array([40, 40, 40])
    for column, colour in ((0, INVENTED), (2, MISSED)):
        assert found["difference"][0, column] == pytest.approx(0.4 * grey + 0.6 * np.array(colour), abs=1)
    assert (found["difference"][0, [1, 3]] == 40).all()
    assert found["prediction"][0, 0] == pytest.approx(0.4 * grey + 0.6 * np.array(STRUCTURES[0]), abs=1)


def test_the_head_is_up_in_coronal_slices():
    volume = np.zeros((3, 2, 2))
    volume[2] = 1
    assert slice_of(volume, Plane("coronal", 1, 1, 1), 0)[0].tolist() == [1, 1]
    assert slice_of(volume, Plane("axial", 0, 1, 1), 2).tolist() == [[1, 1], [1, 1]]


def test_colours_of_structures_differ_in_lightness_or_hue_and_never_repeat():
    assert len(set(STRUCTURES)) == len(STRUCTURES)
    picture = painted(np.zeros((1, 1, 3), dtype=np.uint8), {1: (200, 100, 50)}, np.ones((1, 1)), strength=1.0)
    assert picture.tolist() == [[[200, 100, 50]]]


def surface(classes, *, spacing=(1.0, 1.0, 1.0), step=0.5):
    middle = (np.array(classes.shape) - 1) / 2
    return surface_of(classes, middle=middle, spacing_mm=spacing, step_mm=step)


def test_the_surface_of_a_ball_faces_outwards_and_is_drawn_round():
    found = surface(ball(8, shape=(25, 25, 25)))
    distance = np.linalg.norm(found.points, axis=1)
    assert distance == pytest.approx(8, abs=1)
    assert distance.std() < 0.3  # the voxels of its outside lie up to a voxel from each other
    assert ((found.normals * found.points / distance[:, None]).sum(axis=1) > 0.9).all()
    drawn = np.argwhere(splat(found, angle=0.3, scale=STEP / 0.5).max(axis=2) > 24)
    height, width = drawn.max(axis=0) - drawn.min(axis=0)
    assert height == pytest.approx(width, abs=4)
    assert len(drawn) == pytest.approx(np.pi / 4 * height * width, rel=0.05)  # without holes


def test_a_single_voxel_stays_on_the_surface_and_coarse_slices_are_bridged():
    alone = np.zeros((5, 5, 5), dtype=np.int16)
    alone[2, 2, 2] = 3
    found = surface(alone)
    assert np.abs(found.points).max() < 1
    assert np.unique(found.colours, axis=0).tolist() == [list(STRUCTURES[2])]
    slab = surface(ball(2, shape=(5, 5, 5), centre=2), spacing=(6.0, 1.0, 1.0), step=1.0)
    assert np.diff(np.unique(slab.points[:, 2].round(3))).max() < 1.1
    assert len(surface(alone * 0).points) == 0


def test_a_turn_has_all_frames_and_shows_both_sides():
    frames = turning(scene(ball(6), ball(8)))
    assert len(frames) == FRAMES
    assert len({frame.shape for frame in frames}) == 1
    assert len(sweep(scene(ball(6), ball(8)))) == 17 + 4
    with pytest.raises(EvaluationError, match="no surface to turn"):
        turning(scene(ball(6) * 0, ball(6) * 0))


def test_an_overlay_is_a_picture_of_three_planes(sources):
    opened = open_scene(sources, "b", scheme=BRATS)
    assert opened.grey is not None
    assert opened.grey.shape == opened.reference.shape
    picture = Image.open(io.BytesIO(draw_overlay(opened, scheme=BRATS, title="b")))
    assert picture.width == 900
    colours = np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)
    assert len(colours) > 100


def test_pictures_are_written_where_they_are_wanted(sources, tmp_path):
    names = [path.name for path in write_overlays(sources, tmp_path)]
    assert names == ["overlay_worst_d.png", "overlay_median_c.png", "overlay_best_a.png"]
    assert write_overlays(sources, tmp_path, cases=["c"])[0].name == "overlay_c.png"
    for path in (*write_curves(sources, tmp_path), *write_gifs(sources, tmp_path, case_id="b")):
        with Image.open(path) as picture:
            assert picture.width > 100
    assert write_report(sources, tmp_path)[0].read_text().startswith("<!doctype html>")


def test_what_cannot_be_drawn_is_named(sources, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown evaluated case 'z'"):
        write_overlays(sources, tmp_path, cases=["z"])
    with pytest.raises(EvaluationError, match="case z: no prediction is stored"):
        write_gifs(sources, tmp_path, case_id="z")
    with pytest.raises(EvaluationError, match="no training with a history"):
        write_curves(Sources(title="t"), tmp_path)
    with pytest.raises(EvaluationError, match="no evaluated predictions"):
        write_overlays(Sources(title="t"), tmp_path)


def test_limits_of_agreement_are_worked_out_by_hand():
    pairs = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]])
    assert agreement(pairs) == pytest.approx((0, -1.96 * 2, 1.96 * 2))


def test_confusion_is_shared_out_by_the_reference(sources):
    shares = confusion_shares(sources.evaluation.cases)
    defined = ~np.isnan(shares).any(axis=1)
    assert shares[defined].sum(axis=1) == pytest.approx(np.ones(defined.sum()))
    assert not defined[1]  # no reference holds necrosis
