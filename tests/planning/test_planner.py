import math

import pytest

from autoseg.data.labels import Label, LabelScheme, Region, train_on_regions
from autoseg.errors import PlanError, UnknownNameError
from autoseg.planning.planner import make_plan
from autoseg.planning.presets import PRESETS
from tests.planning.facts import brain, pictures, prostate, scheme


def decision(plan, name):
    return next(found for found in plan.decisions if found.name == name)


def test_the_same_facts_give_the_same_plan():
    assert make_plan(brain()) == make_plan(brain())


def test_a_brain_gets_the_published_patch():
    plan = make_plan(brain())
    assert list(plan.configurations) == ["2d", "3d_fullres"]
    assert plan.configurations["3d_fullres"].patch_size == (128, 128, 128)
    assert plan.configurations["2d"].patch_size == (192, 160)


def test_pictures_get_a_2d_configuration_only():
    plan = make_plan(pictures())
    assert list(plan.configurations) == ["2d"]
    assert decision(plan, "3-D configurations").value == "no"


def test_large_scans_get_a_low_resolution_and_a_cascade_after_it():
    plan = make_plan(brain(shapes=((400, 512, 512),) * 20))
    assert list(plan.configurations) == ["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    cascade, full = plan.configurations["3d_cascade_fullres"], plan.configurations["3d_fullres"]
    assert cascade.previous_stage == "3d_lowres"
    assert cascade.patch_size == full.patch_size
    assert full.batch_dice
    assert not plan.configurations["3d_lowres"].batch_dice
    assert decision(plan, "cascade").value == "yes"


def test_the_coarsest_axis_moves_to_the_front():
    facts = prostate(spacings_mm=((0.625, 0.625, 3.6),) * 12, shapes=((320, 320, 20),) * 12)
    turned, straight = make_plan(facts), make_plan(prostate())
    assert turned.transpose_forward == (2, 0, 1)
    assert turned.configurations == straight.configurations


def test_a_cropped_brain_is_normalised_inside_the_body_and_a_whole_one_is_not():
    assert make_plan(brain()).configurations["2d"].normalisation[0].use_mask
    assert not make_plan(brain(relative_size=0.75)).configurations["2d"].normalisation[0].use_mask


def test_ct_is_clipped_to_the_percentiles_of_the_foreground_and_never_masked():
    found = make_plan(brain(channels=("ct",))).configurations["3d_fullres"].normalisation[0]
    assert (found.scheme, found.lower, found.upper, found.mean, found.deviation) == ("ct", -80, 200, 50, 20)
    assert not found.use_mask


def test_ct_without_any_foreground_cannot_be_normalised():
    with pytest.raises(PlanError, match=r"'CT' is CT .* no case has foreground"):
        make_plan(brain(channels=("CT",), intensities=()))


def test_left_and_right_labels_switch_off_mirroring_from_left_to_right():
    facts = brain(labels=scheme("left kidney", "right kidney"))
    plan = make_plan(facts)
    assert plan.training.mirror_axes == (0, 1)  # RAS: x runs from left to right
    assert "left kidney / right kidney" in decision(plan, "mirror axes").because


def test_a_label_of_one_side_alone_is_mirrored_and_the_decision_says_what_to_mind():
    plan = make_plan(brain(labels=scheme("left atrium", "spleen")))
    assert plan.training.mirror_axes == (0, 1, 2)
    assert "left atrium has no counterpart" in decision(plan, "mirror axes").because


def test_regions_that_differ_in_left_and_right_count_as_labels_do():
    labels = tuple(Label(name=f"part {value}", value=value) for value in range(3))
    regions = (Region(name="kidney_L", values=(1,)), Region(name="kidney_R", values=(2,)))
    plan = make_plan(brain(labels=train_on_regions(LabelScheme(labels=labels, regions=regions))))
    assert plan.training.mirror_axes == (0, 1)


def test_the_axis_from_left_to_right_is_found_in_any_orientation_and_axis_order():
    labels = scheme("left kidney", "right kidney")
    # Orientation AIR: x points to A, y to I, z to R; the coarse x comes first, so z is axis 1 and is left out.
    facts = prostate(labels=labels, orientation="AIR", spacings_mm=((0.6, 0.6, 3.6),) * 12, shapes=((320, 320, 20),) * 12)
    plan = make_plan(facts)
    assert plan.transpose_forward == (2, 0, 1)
    assert plan.training.mirror_axes == (0, 2)


def test_a_template_decides_which_axes_are_mirrored():
    assert make_plan(brain(mirror_axes=(0, 1))).training.mirror_axes == (0, 1)


def test_the_order_of_regions_and_what_they_write_is_a_decision():
    labels = tuple(Label(name=f"part {value}", value=value) for value in (0, 1, 2, 4))
    regions = (
        Region(name="ET", values=(4,)),
        Region(name="WT", values=(1, 2, 4)),
        Region(name="TC", values=(1, 4)),
    )
    plan = make_plan(brain(labels=train_on_regions(LabelScheme(labels=labels, regions=regions))))
    assert decision(plan, "regions").value == "WT writes 2, then TC writes 1, then ET writes 4"
    assert plan.training.loss == decision(plan, "loss").value == "dice_bce"


def test_every_choice_is_a_decision_with_numbers_and_source():
    plan = make_plan(brain(shapes=((400, 512, 512),) * 20))
    names = {found.name for found in plan.decisions}
    expected = {"target spacing", "axis order", "orientation", "normalisation of T1", "mirror axes", "low resolution"}
    assert expected <= names
    assert {f"{part} of 3d_fullres" for part in ("patch", "network", "batch")} <= names
    assert all(found.because and found.source for found in plan.decisions)


def test_an_unknown_preset_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'resenc_m'"):
        make_plan(brain(), preset="resencm")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_budget_too_small_says_the_least_that_would_do_and_that_does(preset):
    with pytest.raises(PlanError, match=r"The least that would do is ([\d.]+) GB") as caught:
        make_plan(brain(), preset=preset, gpu_memory_gb=0.0001)
    least = float(str(caught.value).split("--gpu-memory ")[1].removesuffix(")."))
    assert make_plan(brain(), preset=preset, gpu_memory_gb=least).configurations


@pytest.mark.parametrize("memory", [0.0, -8.0, math.nan, math.inf])
def test_a_senseless_budget_is_refused(memory):
    with pytest.raises(PlanError, match="expected a positive number of GB"):
        make_plan(brain(), gpu_memory_gb=memory)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spacings_mm": ((1.0, 0.0, 1.0),) * 20}, r"spacing of case 1 is 1 x 0 x 1"),
        ({"spacings_mm": ((1.0, -2.0, 1.0),) * 20}, r"spacing of case 1 is 1 x -2 x 1"),
        ({"spacings_mm": ((1.0, math.nan, 1.0),) * 20}, r"spacing of case 1 is 1 x nan x 1"),
        ({"shapes": ((0, 5, 5),) * 20}, r"shape after cropping of case 1 is 0 x 5 x 5"),
        ({"shapes": ((5, 5, 5),) * 19}, r"20 spacings but 19 shapes"),
        ({"spacings_mm": (), "shapes": ()}, r"holds no case"),
        ({"relative_size": math.nan}, r"relative size after cropping is nan"),
        ({"channels": ("T1", "T2")}, r"measures 1 channel, the data set names 2 \(T1, T2\)"),
        ({"training_cases": 0}, r"number of training cases: found 0"),
    ],
)
def test_facts_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(PlanError, match=message):
        brain(**changes)
