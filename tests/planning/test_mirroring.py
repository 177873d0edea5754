"""Which labels mirroring exchanges, worked out by hand."""

import pytest

from autoseg.data.labels import Label, LabelScheme, Region, train_on_regions
from autoseg.errors import PlanError, UnknownNameError
from autoseg.planning.mirroring import exchange_of
from autoseg.planning.plan import TrainingSettings
from autoseg.planning.planner import make_plan
from autoseg.planning.settings import apply_settings
from tests.planning.facts import brain, prostate, scheme

KIDNEYS = scheme("left kidney", "right kidney", "spleen")
PAIR = (("left kidney", "right kidney"),)


def paired(labels=KIDNEYS, pairs=PAIR, axis=2):
    return exchange_of(TrainingSettings(mirror_pairs=pairs, paired_axis=axis), labels)


def decision(plan, name):
    return next(found for found in plan.decisions if found.name == name)


def test_a_pair_exchanges_two_classes_and_the_channels_that_stand_for_them():
    found = paired()
    assert (found.axis, found.classes, found.outputs) == (2, (0, 2, 1, 3), (0, 2, 1, 3))
    # Two image channels, then the masks of left kidney, right kidney and spleen.
    assert found.inputs(2, masks=3) == (0, 1, 3, 2, 4)
    assert found.inputs(2, masks=0) == (0, 1)


def test_without_pairs_nothing_is_exchanged():
    assert exchange_of(TrainingSettings(), KIDNEYS) is None


def test_regions_turn_into_the_regions_of_the_exchanged_labels():
    labels = tuple(Label(name=name, value=value) for value, name in enumerate(("background", "l", "r", "l cyst", "r cyst")))
    regions = (
        *(Region(name="left", values=(1, 3)), Region(name="right", values=(2, 4))),
        *(Region(name="left cyst", values=(3,)), Region(name="right cyst", values=(4,))),
    )
    found = paired(train_on_regions(LabelScheme(labels=labels, regions=regions)), (("l", "r"), ("l cyst", "r cyst")))
    assert found.classes == (0, 2, 1, 4, 3)
    assert found.outputs == (1, 0, 3, 2)


def test_a_region_that_would_turn_into_none_is_refused():
    labels = tuple(Label(name=name, value=value) for value, name in enumerate(("background", "left", "right")))
    regions = (Region(name="both", values=(1, 2)), Region(name="left", values=(1,)))
    with pytest.raises(PlanError, match="region 'left' would hold right, which is no region"):
        paired(train_on_regions(LabelScheme(labels=labels, regions=regions)), (("left", "right"),))


@pytest.mark.parametrize(
    ("pairs", "axis", "error", "message"),
    [
        ((("left kidney", "right kidny"),), 2, UnknownNameError, "Did you mean 'right kidney'"),
        ((("background", "spleen"),), 2, UnknownNameError, "unknown label in training.mirror_pairs 'background'"),
        ((("left kidney", "right kidney"), ("spleen", "left kidney")), 2, PlanError, "'left kidney' is named 2 times"),
        ((("spleen", "spleen"),), 2, PlanError, "'spleen' is named 2 times"),
        (PAIR, None, PlanError, "expected training.paired_axis too"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(pairs, axis, error, message):
    with pytest.raises(error, match=message):
        paired(KIDNEYS, pairs, axis)


def test_pairing_by_name_mirrors_the_axis_that_was_switched_off_and_says_so():
    by_rule = make_plan(brain(labels=KIDNEYS))
    assert by_rule.training.mirror_axes == (0, 1)
    assert "--set training.mirror_pairs=by_name" in decision(by_rule, "mirror axes").because
    plan = apply_settings(by_rule, ["training.mirror_pairs=by_name"])
    assert (plan.training.mirror_pairs, plan.training.paired_axis, plan.training.mirror_axes) == (PAIR, 2, (0, 1, 2))
    found = decision(plan, "mirror axes")
    assert found.value == "z, y, x"
    assert (
        "mirroring along x, the axis from left to right in orientation RAS, exchanges left kidney / right" in found.because
    )
    assert apply_settings(by_rule, ["training.mirror_pairs=by_name"]) == plan


def test_the_paired_axis_is_counted_after_the_coarsest_one_has_moved_to_the_front():
    # Orientation AIR: z runs from left to right; the coarse x comes first, so z is axis 1.
    facts = prostate(labels=KIDNEYS, orientation="AIR", spacings_mm=((0.6, 0.6, 3.6),) * 12, shapes=((320, 320, 20),) * 12)
    plan = apply_settings(make_plan(facts), ["training.mirror_pairs=by_name"])
    assert (plan.training.paired_axis, plan.training.mirror_axes) == (1, (0, 1, 2))


def test_pairs_axis_and_axes_can_be_named():
    plan = apply_settings(
        make_plan(brain(labels=scheme("a", "b"))),
        ['training.mirror_pairs=[["a","b"]]', "training.paired_axis=0", "training.mirror_axes=0,1"],
    )
    assert (plan.training.mirror_pairs, plan.training.paired_axis, plan.training.mirror_axes) == ((("a", "b"),), 0, (0, 1))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.mirror_pairs=by_name", r"no two labels differ in left and right only \(tumour\)"),
        ('training.mirror_pairs=[["tumour","brain"]]', "unknown label in training.mirror_pairs 'brain'"),
        ("training.paired_axis=3", "less than or equal to 2"),
    ],
)
def test_a_setting_that_pairs_what_is_not_there_is_refused(setting, message):
    with pytest.raises((PlanError, UnknownNameError), match=message):
        apply_settings(make_plan(brain()), [setting])
