import numpy as np
import pytest
import torch

from autoseg.data.image import Geometry, Image
from autoseg.data.labels import Label, LabelScheme, Region, train_on_regions
from autoseg.errors import PredictionError
from autoseg.planning.plan import Resampling
from autoseg.prediction.beside import Beside
from autoseg.prediction.ensemble import Member
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.previous_stage import prepare_stages, refined_classes, relabelled_classes, with_masks
from autoseg.prediction.refining import held
from autoseg.prediction.settings import Settings
from autoseg.preprocessing.case import prepare
from tests.prediction import small

EXACT = Settings(precision="fp32", device="cpu", mirroring="none")
KNOWN = "tests.prediction.small:brightness"


def image(voxels):
    return Image(voxels[None], Geometry(voxels.shape, (1.0, 1.0, 1.0), np.eye(4)))


def placement(voxels, spacing_mm):
    chosen = small.plan(spacing_mm=spacing_mm)
    return prepare(image(voxels), chosen, chosen.configurations["3d_fullres"]).placement


def test_on_the_same_grid_nothing_is_interpolated():
    voxels = small.scan(6, 7, 8)
    logits = torch.randn(3, 6, 7, 8, generator=torch.Generator().manual_seed(0))
    place = placement(voxels, (1.0, 1.0, 1.0))
    found = refined_classes(
        held(logits, (1, 1, 1)), source=place, target=place, resampling=Resampling(), labels=small.LABELS
    )
    np.testing.assert_array_equal(found, logits.argmax(0))


def test_a_coarse_answer_is_interpolated_linearly_before_it_is_decided():
    voxels = small.scan(8, 8, 8)
    logits = torch.zeros(3, 4, 4, 4)
    logits[1, 1] = 1.0
    logits[1, [0, 2, 3]] = -0.5
    coarse, fine = placement(voxels, (2.0, 2.0, 2.0)), placement(voxels, (1.0, 1.0, 1.0))
    found = refined_classes(
        held(logits, (1, 1, 1)), source=coarse, target=fine, resampling=Resampling(), labels=small.LABELS
    )
    assert found.shape == (8, 8, 8)
    # Between -0.5 (centre at 0.5) and 1 (at 2.5) the fine centres 1 and 2 lie a quarter and three quarters of the way:
    # -0.125 and 0.625; the same on the other side.
    assert found[:, 0, 0].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


def test_regions_are_painted_where_they_are_more_likely_than_not():
    scheme = LabelScheme(
        labels=tuple(Label(name=name, value=value) for name, value in (("background", 0), ("edema", 2), ("core", 4))),
        regions=(Region(name="whole", values=(2, 4)), Region(name="core", values=(4,))),
    )
    labels = train_on_regions(scheme)
    voxels = small.scan(4, 4, 4)
    logits = torch.full((2, 4, 4, 4), -1.0)
    logits[0, :2] = 1.0
    logits[1, 0] = 1.0
    place = placement(voxels, (1.0, 1.0, 1.0))
    found = refined_classes(held(logits, (1, 1, 1)), source=place, target=place, resampling=Resampling(), labels=labels)
    assert found[:, 0, 0].tolist() == [2, 1, 0, 0]
    seen = with_masks(voxels[None], found, labels=labels)
    assert seen.shape == (3, 4, 4, 4)
    assert torch.equal(seen[1:, :, 0, 0], torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 0]]))


def test_in_a_map_that_is_handed_on_background_outside_the_body_competes_on_its_own():
    voxels = np.array([[[0.0, 1], [1, 1]]], np.float32)
    classes = torch.tensor([[[0, 2], [2, 0]]])
    found = relabelled_classes(
        held(torch.nn.functional.one_hot(classes, 3).movedim(-1, 0).float(), (1, 1, 1)),
        source=placement(voxels, (1.0, 1.0, 1.0)),
        target=placement(voxels, (1.0, 2.0, 2.0)),
        resampling=Resampling(),
        label_resampling=Resampling(),
        labels=small.LABELS,
        body=voxels[0] != 0,
    )
    # A quarter lies outside, a quarter is background, a half 2. Taken together, background would be the nearest of equals.
    assert found.tolist() == [[[2]]]


class Copies(torch.nn.Module):
    """Answers with the masks that follow one image channel: whatever the first stage found."""

    def forward(self, seen):
        return torch.cat([0.5 - seen[:, 1:].sum(1, keepdim=True), seen[:, 1:]], dim=1)


def cascade(*, first_spacing=(1.0, 1.0, 1.0), **changes):
    first, second = small.plan(kind=KNOWN, spacing_mm=first_spacing, **changes), small.plan()
    before = Member(first, first.configurations["3d_fullres"], (small.network(first),))
    return Member(second, second.configurations["3d_fullres"], (Copies(),), before)


def test_the_second_stage_sees_what_the_first_found():
    voxels = small.scan(11, 13, 9)
    found = Predictor([cascade()], settings=EXACT).predict(image(voxels))
    np.testing.assert_array_equal(found.labels, np.where(voxels > 2, 9, np.where(voxels > 1, 4, 0)))


def test_the_first_stage_works_on_its_own_grid():
    voxels = small.scan(12, 12, 12)
    member = cascade(first_spacing=(2.0, 2.0, 2.0))
    prepared = prepare_stages(image(voxels), member)
    assert prepared.image.shape == (1, 12, 12, 12)
    assert prepared.previous.image.shape == (1, 6, 6, 6)
    found = Predictor([member], settings=EXACT).predict(image(voxels))
    first = Predictor([member.previous], settings=EXACT).predict(image(voxels))
    np.testing.assert_array_equal(found.labels, first.labels)


def test_stages_that_turn_images_differently_are_refused():
    with pytest.raises(PredictionError, match="orient or crop images differently"):
        prepare_stages(image(small.scan(8, 9, 10)), cascade(orientation="LAS"))


def test_a_cascade_averages_with_a_single_stage():
    voxels = small.scan(9, 9, 9)
    member = cascade()
    found = Predictor([member, member.previous], settings=EXACT).predict(image(voxels))
    # The first stage is surer of itself than the one that copies it.
    np.testing.assert_array_equal(found.labels, np.where(voxels > 2, 9, np.where(voxels > 1, 4, 0)))


def test_a_cascade_a_flat_and_a_full_network_predict_together_with_weights_in_any_order():
    voxels, flat = small.scan(9, 10, 12), small.plan(patch_size=(8, 8), spacing_mm=(1.0, 1.0), name="2d")
    members = [
        cascade(),
        Member(flat, flat.configurations["2d"], (small.network(flat, seed=2),)),
        Member(
            small.plan(),
            small.plan().configurations["3d_fullres"],
            tuple(small.network(small.plan(), seed=s) for s in (3, 4)),
        ),
    ]
    wanted, weights, found = Beside(probabilities=True, uncertainty=True), (3.0, 1.0, 0.5), []
    for order in ((0, 1, 2), (2, 0, 1)):
        predictor = Predictor([members[i] for i in order], settings=EXACT, weights=[weights[i] for i in order])
        found.append(predictor.decide(predictor.prepare(image(voxels)), beside=wanted))
    first, second = found
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.maps.variance, second.maps.variance)
    assert len(first.tally.members) == 4  # the cascade's first stage is part of it
    alone = Predictor(members[:1], settings=EXACT).predict(image(voxels), probabilities=True).probabilities
    others = Predictor(members[1:], settings=EXACT, weights=weights[1:]).predict(image(voxels), probabilities=True)
    expected = (3 * alone + 1.5 * others.probabilities) / 4.5
    np.testing.assert_allclose(first.probabilities, expected, atol=3e-5)
