"""The terms of losses: worked out by hand, and the laws that tie them to each other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.data.labels import Label, LabelScheme, Region
from autoseg.errors import PlanError, TrainingError
from autoseg.losses import LOSSES, build_loss
from autoseg.planning.names import LOSSES as TARGETS
from autoseg.planning.plan import TrainingSettings

THREE = LabelScheme(labels=(Label(name="bg", value=0), Label(name="a", value=1), Label(name="b", value=4)))
REGIONS = LabelScheme(
    labels=THREE.labels,
    regions=(Region(name="whole", values=(1, 4), writes=1), Region(name="core", values=(4,), writes=4)),
    target="regions",
)
BOTH = pytest.mark.parametrize("labels", [THREE, REGIONS], ids=["classes", "regions"])
WEIGHTS = {"labels": (0.5, 1.0, 3.0), "regions": (1.0, 3.0)}


def loss_of(name, labels, *, batch_dice=False, **changed):
    built = build_loss(
        name, labels=labels, batch_dice=batch_dice, deep_supervision_levels=1, settings=TrainingSettings(**changed)
    )
    return lambda logits, target: built([logits], target)


def a_batch(labels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, labels.output_channels, 5, 6, generator=generator)
    return logits.requires_grad_(), torch.randint(0, 3, (2, 5, 6), generator=generator)


def value_and_gradient(loss, batch):
    logits, target = batch
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def same(first, second, batch):
    (a, gradient_a), (b, gradient_b) = value_and_gradient(first, batch), value_and_gradient(second, batch)
    return torch.allclose(a, b, atol=1e-6) and torch.allclose(gradient_a, gradient_b, atol=1e-6)


# Voxel 1 is class 1 with p = (1/4, 1/2, 1/4), voxel 2 is background with p = (1/2, 1/8, 3/8).
TWO_VOXELS = torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.125, 0.375]]).log().T[None, :, :, None]
TWO_CLASSES = torch.tensor([[[1], [0]]])


def test_weighted_dice_worked_out_by_hand():
    dice_1 = (2 * 0.5 + 1e-5) / (1 + 0.625 + 1e-5)
    dice_2 = 1e-5 / (0 + 0.625 + 1e-5)
    found = loss_of("weighted_dice", THREE, class_weights=(9.0, 1.0, 3.0))(TWO_VOXELS, TWO_CLASSES)
    assert float(found) == pytest.approx(-(dice_1 + 3 * dice_2) / 4, abs=1e-6)


def test_weighted_cross_entropy_worked_out_by_hand():
    found = loss_of("ce", THREE, class_weights=(1.0, 3.0, 7.0))(TWO_VOXELS, TWO_CLASSES)
    assert float(found) == pytest.approx((3 * math.log(2) + 1 * math.log(2)) / 4, abs=1e-6)


def test_weighted_binary_cross_entropy_worked_out_by_hand():
    # One voxel of class 2, in both regions: probabilities 1/2 and 3/4, weights 1 and 3.
    logits = torch.tensor([0.0, math.log(3)]).reshape(1, 2, 1, 1)
    found = loss_of("bce", REGIONS, class_weights=(1.0, 3.0))(logits, torch.tensor([[[2]]]))
    assert float(found) == pytest.approx(-(math.log(0.5) + 3 * math.log(0.75)) / 4, abs=1e-6)


def test_tversky_worked_out_by_hand():
    # Class 1: overlap 1/2, too much 1/8, missed 1/2. Class 2: overlap 0, too much 5/8, missed 0.
    index_1 = (0.5 + 5e-6) / (0.5 + 0.3 * 0.125 + 0.7 * 0.5 + 5e-6)
    index_2 = 5e-6 / (0.3 * 0.625 + 5e-6)
    found = loss_of("tversky", THREE)(TWO_VOXELS, TWO_CLASSES)
    assert float(found) == pytest.approx(-(index_1 + index_2) / 2, abs=1e-6)


def test_focal_worked_out_by_hand():
    # Both voxels have their truth at p = 1/2: a quarter of the cross entropy with exponent 2.
    assert float(loss_of("focal", THREE)(TWO_VOXELS, TWO_CLASSES)) == pytest.approx(math.log(2) / 4, abs=1e-6)
    assert float(loss_of("focal", THREE, focal_gamma=1.0)(TWO_VOXELS, TWO_CLASSES)) == pytest.approx(math.log(2) / 2)


def test_the_top_half_is_the_mean_of_the_worst_voxels_of_the_batch():
    probabilities = torch.tensor([[0.9, 0.6], [0.2, 0.5]])  # of the truth, class 0
    scores = torch.stack([probabilities, (1 - probabilities) / 2, (1 - probabilities) / 2], dim=1).log()[..., None]
    found = loss_of("topk_ce", THREE, top_k_share=0.5)(scores, torch.zeros(2, 2, 1, dtype=torch.int64))
    assert float(found) == pytest.approx(-(math.log(0.2) + math.log(0.5)) / 2, abs=1e-6)


@BOTH
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), batch_dice=st.booleans())
def test_tversky_with_halves_is_dice(labels, seed, batch_dice):
    halves = loss_of("tversky", labels, batch_dice=batch_dice, tversky_alpha=0.5, tversky_beta=0.5)
    assert same(halves, loss_of("dice", labels, batch_dice=batch_dice), a_batch(labels, seed))


@BOTH
@pytest.mark.parametrize("weighted", [False, True])
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_focal_without_exponent_and_all_of_top_k_are_cross_entropy(labels, weighted, seed):
    weights = {"class_weights": WEIGHTS[labels.target]} if weighted else {}
    plain = loss_of("bce" if labels.target == "regions" else "ce", labels, **weights)
    assert same(loss_of("focal", labels, focal_gamma=0.0, **weights), plain, a_batch(labels, seed))
    assert same(loss_of("topk_ce", labels, top_k_share=1.0, **weights), plain, a_batch(labels, seed))


NAMED = [(name, labels) for name in LOSSES for labels in (THREE, REGIONS) if labels.target in TARGETS[name]]
EACH = pytest.mark.parametrize(("name", "labels"), NAMED, ids=[f"{name}-{labels.target}" for name, labels in NAMED])


@EACH
def test_equal_class_weights_change_nothing_and_scale_does_not_matter(name, labels):
    even = (2.0,) * labels.output_channels
    assert same(loss_of(name, labels, class_weights=even), loss_of(name, labels), a_batch(labels))
    one, ten = (tuple(scale * w for w in WEIGHTS[labels.target]) for scale in (1, 10))
    assert same(loss_of(name, labels, class_weights=one), loss_of(name, labels, class_weights=ten), a_batch(labels))


@EACH
@pytest.mark.parametrize("weighted", [False, True])
def test_ignored_voxels_change_neither_loss_nor_gradient(name, labels, weighted):
    ignoring = labels.model_copy(update={"ignore": 9})
    weights = {"class_weights": WEIGHTS[labels.target]} if weighted else {}
    loss = loss_of(name, ignoring, **weights)
    logits, target = a_batch(labels)
    target[:, 3:] = ignoring.ignore_class
    disturbed = logits.detach().clone()
    disturbed[:, :, 3:] += 7
    value, gradient = value_and_gradient(loss, (logits, target))
    assert torch.allclose(loss(disturbed, target), value, atol=1e-6)
    assert torch.count_nonzero(gradient[:, :, 3:]) == 0
    kept = loss_of(name, labels, **weights)(logits[:, :, :3], target[:, :3])
    assert torch.allclose(kept, value, atol=1e-6)
    everywhere = torch.full_like(target, ignoring.ignore_class)
    value, gradient = value_and_gradient(loss, (logits, everywhere))
    assert torch.isfinite(value)
    assert torch.count_nonzero(gradient) == 0


@EACH
def test_the_gradient_is_that_of_the_value(name, labels):
    # Losses sum in single precision: the slope is taken over a step that is large against its rounding.
    logits, target = a_batch(labels)
    loss = loss_of(name, labels, class_weights=WEIGHTS[labels.target], top_k_share=1.0)
    _, gradient = value_and_gradient(loss, (logits, target))
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ahead, behind = (loss(logits + step * direction, target) for step in (1e-2, -1e-2))
    assert float((ahead - behind) / 2e-2) == pytest.approx(float((gradient * direction).sum()), rel=2e-3, abs=2e-4)


@EACH
def test_half_precision_logits_give_single_precision_losses(name, labels):
    logits, target = a_batch(labels)
    assert loss_of(name, labels)(logits.bfloat16(), target).dtype == torch.float32


def test_class_weights_of_another_number_are_refused_with_the_names_they_are_for():
    with pytest.raises(PlanError, match=r"expected 3 numbers, for bg, a, b, one above 0; found 1.0,2.0"):
        loss_of("ce", THREE, class_weights=(1.0, 2.0))
    with pytest.raises(PlanError, match=r"expected 2 numbers, for whole, core, one above 0; found 1.0,2.0,3.0"):
        loss_of("bce", REGIONS, class_weights=(1.0, 2.0, 3.0))
    with pytest.raises(TrainingError, match="has not been counted"):
        loss_of("ce", THREE, class_weights="inverse_frequency")
