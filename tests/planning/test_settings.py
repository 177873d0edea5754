import pytest

from autoseg.errors import PlanError, UnknownNameError
from autoseg.planning.planner import make_plan
from autoseg.planning.settings import apply_settings
from tests.planning.facts import brain

PLAN = make_plan(brain())


@pytest.mark.parametrize(
    ("setting", "read", "expected"),
    [
        ("training.epochs=20", lambda plan: plan.training.epochs, 20),
        ("training.learning_rate=1", lambda plan: plan.training.learning_rate, 1.0),
        ("training.learning_rate=3e-4", lambda plan: plan.training.learning_rate, 3e-4),
        ("training.deep_supervision=False", lambda plan: plan.training.deep_supervision, False),
        ("training.loss=dice_topk", lambda plan: plan.training.loss, "dice_topk"),
        ("training.precision=bf16", lambda plan: plan.training.precision, "bf16"),
        ("training.mirror_axes=1,2", lambda plan: plan.training.mirror_axes, (1, 2)),
        ("training.mirror_axes=1", lambda plan: plan.training.mirror_axes, (1,)),
        ("training.mirror_axes=[]", lambda plan: plan.training.mirror_axes, ()),
        ("3d_fullres.batch_size=4", lambda plan: plan.configurations["3d_fullres"].batch_size, 4),
        ("3d_fullres.patch_size=96,96,96", lambda plan: plan.configurations["3d_fullres"].patch_size, (96, 96, 96)),
        ("2d.network.dropout=0.2", lambda plan: plan.configurations["2d"].network.dropout, 0.2),
        ("2d.resampling.image_order=1", lambda plan: plan.configurations["2d"].resampling.image_order, 1),
        ("2d.normalisation.0.use_mask=no", lambda plan: plan.configurations["2d"].normalisation[0].use_mask, False),
    ],
)
def test_a_value_is_read_by_the_type_of_its_field(setting, read, expected):
    assert read(apply_settings(PLAN, [setting])) == expected


def test_a_setting_is_a_recorded_decision():
    found = apply_settings(PLAN, ["training.epochs=20", "training.epochs=30"]).decisions[-1]
    assert (found.name, found.value, found.because) == ("set by hand: training.epochs", "30", "was 20")


def test_a_smaller_patch_costs_less():
    before = PLAN.configurations["3d_fullres"]
    after = apply_settings(PLAN, ["3d_fullres.patch_size=64,64,64"]).configurations["3d_fullres"]
    assert after.cost * 8 == before.cost


def test_another_spacing_changes_the_median_shape():
    after = apply_settings(PLAN, ["3d_fullres.spacing_mm=2,1,1"]).configurations["3d_fullres"]
    assert after.median_shape == (69, 169, 138)


def test_a_patch_that_does_not_fit_comes_with_the_nearest_that_do():
    with pytest.raises(PlanError, match=r"multiples of 32,32,32. The nearest that fit: 96,96,96 or 128,128,96"):
        apply_settings(PLAN, ["3d_fullres.patch_size=100,120,96"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs=many", "setting training.epochs: expected a valid integer, found 'many'"),
        ("training.epochs=0", "expected greater than or equal to 1, found '0'"),
        ("training.precision=fp8", "expected 'auto', 'fp32', 'bf16' or 'fp16', found 'fp8'"),
        ("training.mirror_axes=0,3", "expected different axes out of 0, 1, 2"),
        (
            "3d_fullres.patch_size=96,96",
            r"expected 3 numbers of voxels, found 96,96. For example 3d_fullres.patch_size=128,",
        ),
        ("3d_fullres.patch_size=0,96,96", "The nearest that fit: 32,96,96"),
        ("3d_fullres.spacing_mm=1,0,1", "expected 3 positive numbers of mm"),
        ("3d_fullres.network.features=32,64", "expected 6 entries for 6 stages, found 2"),
        ("2d.network.encoder_blocks=0,0,0,0,0,0", "expected positive numbers"),
        ("2d.normalisation=[]", "expected an entry for each channel"),
        ("training.epochs", "expected KEY=VALUE"),
        ("epochs=3", "expected KEY=VALUE"),
        ("training.loss.top=3", "loss has no part 'top'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(setting, message):
    with pytest.raises(PlanError, match=message):
        apply_settings(PLAN, [setting])


@pytest.mark.parametrize(
    ("setting", "nearest"),
    [
        ("training.epoch=3", "training.epochs"),
        ("trainin.epochs=3", "training"),
        ("3d_fulres.batch_size=3", "3d_fullres"),
        ("3d_fullres.patchsize=1", "3d_fullres.patch_size"),
        ("2d.network.feature=1", "2d.network.features"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(setting, nearest):
    with pytest.raises(UnknownNameError, match=f"Did you mean '{nearest}'"):
        apply_settings(PLAN, [setting])


def test_what_follows_from_other_values_cannot_be_set():
    with pytest.raises(UnknownNameError, match=r"unknown setting '2d\.cost'"):
        apply_settings(PLAN, ["2d.cost=3"])
