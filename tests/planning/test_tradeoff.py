"""More memory never gives a patch of fewer voxels, nor a smaller batch for the same patch; what else shrinks is said."""

import math

import pytest

from autoseg.planning.planner import make_plan
from autoseg.planning.presets import PRESETS
from autoseg.planning.sizing import Budget, fit
from autoseg.planning.tradeoff import about_tradeoff
from tests.planning.facts import brain

CT = {"spacings_mm": ((3, 0.76, 0.76),) * 20, "shapes": ((148, 512, 512),) * 20}


def trade_offs(plan):
    return [one for one in plan.decisions if one.name.startswith("trade-off")]


def test_a_larger_patch_that_costs_some_of_the_batch_says_so():
    facts = brain(**CT)
    plan = make_plan(facts, preset="resenc_m")
    (decision,) = trade_offs(plan)
    assert decision.name == "trade-off of 2d"
    assert decision.value == "the patch of more voxels: 512 x 512 with a batch of 13"
    assert "under 7.67 GB the rule takes 512 x 448 with a batch of 14" in decision.because
    less = make_plan(facts, preset="resenc_m", gpu_memory_gb=7.66).configurations["2d"]
    assert (less.patch_size, less.batch_size) == ((512, 448), 14)


def test_nothing_is_said_where_less_memory_gives_less_of_everything():
    assert not trade_offs(make_plan(brain()))
    assert not trade_offs(make_plan(brain(**CT)))


def test_a_patch_that_is_shorter_along_one_axis_says_so():
    # Three unrelated spacings: without its last halving the finest axis ends earlier, and another one is rounded up.
    spacing, shape = (4.2, 0.256, 0.591), (22.0, 150.0, 115.0)
    preset = PRESETS["nnunet"]
    found = {}
    for step in range(1, 4000):
        budget = Budget(preset, step / 1000)
        if budget.allows(3e6, dimensions=3):
            sizing = fit(spacing, shape, budget=budget, outputs=2, dataset_voxels=1e9)
            found.setdefault(sizing.design.patch_size, (sizing, budget))
    assert all(math.prod(a) < math.prod(b) for a, b in zip(found, list(found)[1:], strict=False))
    shorter = [
        (smaller, larger)
        for smaller, larger in zip(found, list(found)[1:], strict=False)
        if any(a > b for a, b in zip(smaller, larger, strict=True))
    ]
    assert shorter == [((10, 56, 48), (9, 64, 48))]
    sizing, budget = found[9, 64, 48]
    (decision,) = about_tradeoff("3d_fullres", sizing, budget=budget, outputs=2)
    assert "the rule takes 10 x 56 x 48" in decision.because


@pytest.mark.parametrize("preset", PRESETS)
def test_a_trade_off_that_was_reduced_away_is_not_told(preset):
    facts = brain(**CT)
    usual = make_plan(facts, preset=preset)
    room = usual.configurations["2d"].predicted_training_bytes - 1
    tight = make_plan(facts, preset=preset, device_bytes=room)
    assert not [one for one in trade_offs(tight) if one.name.endswith("2d")]
    values = {one.name: one.value for one in tight.decisions}
    assert values["batch of 2d"] == str(tight.configurations["2d"].batch_size)
    assert values["patch of 2d"] == " x ".join(map(str, tight.configurations["2d"].patch_size))
