import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.data.labels import Label, LabelScheme, Region
from autoseg.errors import TrainingError, UnknownNameError
from autoseg.losses import build_loss, region_mask

THREE = LabelScheme(labels=(Label(name="bg", value=0), Label(name="a", value=1), Label(name="b", value=4)))
IGNORING = THREE.model_copy(update={"ignore": 9})
REGIONS = LabelScheme(
    labels=THREE.labels,
    regions=(Region(name="whole", values=(1, 4), writes=1), Region(name="core", values=(4,), writes=4)),
    target="regions",
)


def loss_of(name, labels, *, batch_dice=False, levels=1):
    return build_loss(name, labels=labels, batch_dice=batch_dice, deep_supervision_levels=levels)


def logits_for(probabilities):
    return torch.tensor(probabilities, dtype=torch.float32).log().movedim(-1, 0)[None]


def test_dice_and_cross_entropy_of_two_voxels_worked_out_by_hand():
    # Voxel 1 is class 1 with p = (1/4, 1/2, 1/4), voxel 2 is background with p = (1/2, 1/4, 1/4).
    logits = logits_for([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]])[..., None]
    target = torch.tensor([[[1], [0]]])
    dice_1 = (2 * 0.5 + 1e-5) / (1 + 0.75 + 1e-5)
    dice_2 = 1e-5 / (0 + 0.5 + 1e-5)
    expected = math.log(2) - (dice_1 + dice_2) / 2
    assert float(loss_of("dice_ce", THREE)([logits], target)) == pytest.approx(expected, abs=1e-6)
    assert float(loss_of("ce", THREE)([logits], target)) == pytest.approx(math.log(2), abs=1e-6)
    assert float(loss_of("dice", THREE)([logits], target)) == pytest.approx(-(dice_1 + dice_2) / 2, abs=1e-6)


def test_batch_dice_pools_the_overlap_before_the_ratio():
    # Two samples of one voxel each, the first foreground and certain, the second background and half sure.
    two = LabelScheme(labels=THREE.labels[:2])
    first = torch.tensor([[[-50.0], [50.0]]])
    second = torch.tensor([[[0.0], [0.0]]])
    logits = torch.cat([first, second])[..., None]
    target = torch.tensor([[[1]], [[0]]])
    pooled = (2 * 1 + 1e-5) / (1 + 1.5 + 1e-5)
    single = (1.0 + 1e-5 / (0.5 + 1e-5)) / 2
    assert float(loss_of("dice", two, batch_dice=True)([logits], target)) == pytest.approx(-pooled, abs=1e-6)
    assert float(loss_of("dice", two)([logits], target)) == pytest.approx(-single, abs=1e-6)


def test_regions_worked_out_by_hand():
    # One voxel of class 2, which lies in both regions: probabilities 1/2 and 3/4.
    logits = torch.tensor([0.0, math.log(3)]).reshape(1, 2, 1, 1)
    target = torch.tensor([[[2]]])
    dice = ((2 * 0.5 + 1e-5) / (1.5 + 1e-5) + (2 * 0.75 + 1e-5) / (1.75 + 1e-5)) / 2
    cross_entropy = -(math.log(0.5) + math.log(0.75)) / 2
    assert float(loss_of("dice_bce", REGIONS)([logits], target)) == pytest.approx(cross_entropy - dice, abs=1e-6)


def test_a_perfect_prediction_costs_minus_one_and_a_wrong_one_more():
    target = torch.tensor([[[0, 1], [2, 2]]])
    perfect = 100 * F.one_hot(target, 3).movedim(-1, 1).float()
    assert float(loss_of("dice_ce", THREE)([perfect], target)) == pytest.approx(-1, abs=1e-5)
    assert float(loss_of("dice_ce", THREE)([perfect.roll(1, dims=1)], target)) > 50


@pytest.mark.parametrize(
    ("name", "labels"), [("dice_ce", IGNORING), ("dice_bce", REGIONS.model_copy(update={"ignore": 9}))]
)
def test_ignored_voxels_change_neither_loss_nor_gradient(name, labels):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, labels.output_channels, 4, 4, generator=generator)
    target = torch.randint(0, 3, (2, 4, 4), generator=generator)
    target[:, 2:] = labels.ignore_class
    disturbed = logits.clone()
    disturbed[:, :, 2:] += 7
    logits.requires_grad_()
    loss = loss_of(name, labels)([logits], target)
    loss.backward()
    assert float(loss_of(name, labels)([disturbed], target)) == pytest.approx(float(loss.detach()), abs=1e-6)
    assert torch.count_nonzero(logits.grad[:, :, 2:]) == 0
    kept = loss_of(name, labels)([logits[:, :, :2]], target[:, :2])
    assert float(kept.detach()) == pytest.approx(float(loss.detach()), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "labels"), [("dice_ce", IGNORING), ("dice_bce", REGIONS.model_copy(update={"ignore": 9}))]
)
def test_a_batch_that_is_ignored_altogether_gives_a_finite_loss(name, labels):
    logits = torch.zeros(1, labels.output_channels, 2, 2, requires_grad=True)
    loss = loss_of(name, labels)([logits], torch.full((1, 2, 2), labels.ignore_class))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert torch.count_nonzero(logits.grad) == 0


def dense_dice_ce(logits, target):
    """The same by one-hot volumes in float64, as one would write it down."""
    probabilities = torch.softmax(logits.double(), 1)
    one_hot = F.one_hot(target, logits.shape[1]).movedim(-1, 1).double()
    axes = tuple(range(2, logits.ndim))
    overlap, soft, hard = ((x).sum(axes)[:, 1:] for x in (probabilities * one_hot, probabilities, one_hot))
    dice = ((2 * overlap + 1e-5) / (soft + hard + 1e-5)).mean()
    return F.cross_entropy(logits.double(), target) - dice


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_dice_ce_and_its_gradient_equal_the_dense_formula(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 3, 4, 5, generator=generator, requires_grad=True)
    target = torch.randint(0, 3, (2, 3, 4, 5), generator=generator)
    loss, expected = loss_of("dice_ce", THREE)([logits], target), dense_dice_ce(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    assert torch.allclose(gradient, expected_gradient.float(), atol=1e-6)


def test_half_precision_logits_are_summed_in_single_precision():
    # In bf16 a sum of 40 000 voxels would stick at 256 times its unit.
    logits = torch.zeros(1, 2, 200, 200, dtype=torch.bfloat16)
    target = torch.ones(1, 200, 200, dtype=torch.int64)
    two = LabelScheme(labels=THREE.labels[:2])
    loss = loss_of("dice", two)([logits], target)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(-2 / 3, abs=1e-5)


def test_region_mask_holds_all_its_classes():
    assert region_mask(torch.tensor([0, 1, 2, 3]), (1, 3)).tolist() == [False, True, False, True]


def test_a_loss_over_classes_is_refused_for_regions_and_the_other_way_round():
    with pytest.raises(TrainingError, match="dice_bce"):
        loss_of("dice_ce", REGIONS)
    with pytest.raises(TrainingError, match="dice_ce"):
        loss_of("bce", THREE)
    with pytest.raises(UnknownNameError, match="Did you mean 'dice_ce'"):
        loss_of("dicece", THREE)
