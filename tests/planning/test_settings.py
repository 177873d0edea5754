import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.errors import PlanError, UnknownNameError
from autoseg.planning.consistency import nearest_patches
from autoseg.planning.nnunet_plans import nnunet_plans
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
        ("training.loss=ce", lambda plan: plan.training.loss, "ce"),
        ("training.loss=tests.made_up:loss", lambda plan: plan.training.loss, "tests.made_up:loss"),
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


@pytest.mark.parametrize(("steps", "batches"), [(250, 50), (500, 50), (100, 20), (10, 2), (1, 1)])
def test_fewer_steps_than_planned_bring_as_many_times_fewer_validation_batches(steps, batches):
    found = apply_settings(PLAN, [f"training.iterations_per_epoch={steps}"])
    assert found.training.validation_iterations == batches


def test_the_share_of_validation_is_that_of_the_plan_and_a_number_set_by_hand_stays():
    planned = apply_settings(PLAN, ["training.iterations_per_epoch=100", "training.validation_iterations=10"])
    assert planned.training.validation_iterations == 10
    assert apply_settings(planned, ["training.iterations_per_epoch=20"]).training.validation_iterations == 2
    because = apply_settings(PLAN, ["training.iterations_per_epoch=10"]).decisions[-1].because
    assert because == "was 50; as many times fewer as training.iterations_per_epoch"


def test_a_recipe_says_its_own_number_of_validation_batches():
    found = apply_settings(PLAN, ["training.iterations_per_epoch=100"], source="recipe isensee2017")
    assert found.training.validation_iterations == 50


def test_a_smaller_patch_costs_less():
    before = PLAN.configurations["3d_fullres"]
    after = apply_settings(PLAN, ["3d_fullres.patch_size=64,64,64"]).configurations["3d_fullres"]
    assert after.cost * 8 == before.cost


def test_another_spacing_changes_the_median_shape():
    after = apply_settings(PLAN, ["3d_fullres.spacing_mm=2,1,1"]).configurations["3d_fullres"]
    assert after.median_shape == (69, 169, 138)


def test_a_patch_that_does_not_fit_comes_with_the_nearest_that_do():
    with pytest.raises(PlanError, match=r"multiples of 32,32,32. The nearest that fit: 96,128,96, 96,96,96 or 128,128,96"):
        apply_settings(PLAN, ["3d_fullres.patch_size=100,120,96"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs=many", "setting training.epochs: expected a valid integer, found 'many'"),
        ("training.epochs=0", "expected greater than or equal to 1, found '0'. The nearest: 1."),
        ("training.top_k_share=1.5", "expected less than or equal to 1, found '1.5'. The nearest: 1."),
        ("training.top_k_share=0", "expected greater than 0, found '0'"),
        ("training.class_weights=1", "expected 2 numbers, for background, tumour, one above 0; found 1"),
        ("training.class_weights=0,0", "expected 2 numbers, for background, tumour, one above 0; found 0"),
        (
            "training.class_weights=1,-1",
            "expected greater than or equal to 0 or 'inverse_frequency', found '1,-1'. The nearest: 0.",
        ),
        ("training.class_weights=inverse", "expected .*'inverse_frequency'"),
        ("training.stop_at_floor=yes", "schedule 'poly' has no floor. Set training.schedule=plateau"),
        ("training.stop_patience=0", "expected greater than or equal to 1"),
        ("3d_fullres.network.norm=layer", "expected 'instance', 'batch' or 'group', found 'layer'"),
        ("3d_fullres.network.dropout=1", "expected less than 1"),
        ("training.precision=fp8", "expected 'auto', 'fp32', 'bf16' or 'fp16', found 'fp8'"),
        ("training.mirror_axes=0,3", "expected different axes out of 0, 1, 2"),
        (
            "3d_fullres.patch_size=96,96",
            r"expected 3 numbers of voxels, found 96,96. For example 3d_fullres.patch_size=128,",
        ),
        ("3d_fullres.patch_size=0,96,96", "The nearest that fit: 32,96,96, "),
        ("3d_fullres.spacing_mm=1,0,1", "expected 3 positive numbers of mm"),
        ("3d_fullres.network.features=32,64", "expected 6 entries for 6 stages, found 2. The nearest: 32,64,64,64,64,64"),
        ("3d_fullres.patch_size=32,32,32", "one voxel at the bottleneck.* The nearest that fit: 32,32,64, 32,64,32 or"),
        ("3d_fullres.spacing_mm=0.01,0.01,0.01", "makes the median image 13800 x 16900 x 13800 voxels"),
        ("3d_fullres.spacing_mm=1,nan,1", "expected 3 positive numbers of mm|expected a finite number|expected"),
        ("3d_fullres.batch_size=0", "expected greater than or equal to 1"),
        ("3d_fullres.network.kernels=[[3,3,3],[3,3,3],[3,4,3],[3,3,3],[3,3,3],[3,3,3]]", "nearest: 3,3,3 or 3,5,3"),
        ("3d_fullres.network.kernels=[[3,3,3]]", r"expected 6 entries for 6 stages, found 1. The nearest: \[\[3, 3, 3\]"),
        ("3d_fullres.network.strides=[[2,2,2],[2,2,2],[2,2,2],[2,2,2],[2,2,2],[1,1,1]]", "works at full resolution"),
        ("3d_fullres.resampling.image_order=7", "The nearest: 5"),
        ("3d_fullres.normalisation.0.scheme=ct", "needs lower < upper"),
        ("training.loss=dice_bce", "does not fit a plan that trains on classes. These do: dice_ce, ce, dice"),
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
        ("training.loss=dicece", "dice_ce"),
        ("training.optimiser=adamm", "adam"),
        ("training.schedule=polly", "poly"),
        ("training.augmentation=nnu-net", "nnunet"),
        ("2d.network.kind=residual", "residual_unet"),
        ("2d.network.kind=isensee", "isensee2017"),
        ("2d.network.initialisation=he_norm", "he_normal"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(setting, nearest):
    with pytest.raises(UnknownNameError, match=f"Did you mean '{nearest}'"):
        apply_settings(PLAN, [setting])


def test_what_follows_from_other_values_cannot_be_set():
    with pytest.raises(UnknownNameError, match=r"unknown setting '2d\.cost'"):
        apply_settings(PLAN, ["2d.cost=3"])


def test_a_function_of_a_package_that_is_not_there_is_refused():
    with pytest.raises(UnknownNameError, match="no module 'nowhere_to_be_found' on the Python path"):
        apply_settings(PLAN, ["training.loss=nowhere_to_be_found:loss"])
    with pytest.raises(UnknownNameError, match=r"expected package\.module:function"):
        apply_settings(PLAN, ["training.loss=a package:loss"])


@given(
    patch=st.tuples(*[st.integers(-3, 400)] * 3),
    divisor=st.tuples(*[st.sampled_from([1, 2, 4, 8, 32])] * 3),
)
def test_the_nearest_patches_fit_and_no_other_is_nearer(patch, divisor):
    found = nearest_patches(patch, divisor)
    for valid in found:
        assert all(n > 0 and n % d == 0 for n, d in zip(valid, divisor, strict=True))
        assert valid != divisor
    steps = [sum(abs(a - b) / d for a, b, d in zip(valid, patch, divisor, strict=True)) for valid in found]
    assert steps == sorted(steps)
    rounded = tuple(max(round(n / d), 1) * d for n, d in zip(patch, divisor, strict=True))
    if rounded != divisor:
        best = sum(abs(a - b) / d for a, b, d in zip(rounded, patch, divisor, strict=True))
        assert steps[0] == pytest.approx(best)


def test_fewer_stages_can_be_set_with_all_that_belongs_to_them():
    found = apply_settings(
        PLAN,
        [
            "3d_fullres.network.strides=[[1,1,1],[2,2,2],[2,2,2]]",
            "3d_fullres.network.kernels=[[3,3,3],[3,3,3],[3,3,3]]",
            "3d_fullres.network.features=16,32,64",
            "3d_fullres.network.encoder_blocks=2,2,2",
            "3d_fullres.network.decoder_blocks=2,2",
            "3d_fullres.patch_size=36,36,36",
        ],
    ).configurations["3d_fullres"]
    assert found.network.features == (16, 32, 64)
    assert found.patch_size == (36, 36, 36)


LARGE = make_plan(brain(shapes=((400, 512, 512),) * 20))


def test_what_is_set_at_full_resolution_is_passed_on_to_the_cascade():
    found = apply_settings(LARGE, ["3d_fullres.patch_size=64,96,96", "3d_fullres.network.dropout=0.1"])
    cascade, full = found.configurations["3d_cascade_fullres"], found.configurations["3d_fullres"]
    assert cascade.patch_size == full.patch_size == (64, 96, 96)
    assert cascade.network.dropout == 0.1
    assert cascade.cost == full.cost < LARGE.configurations["3d_fullres"].cost
    passed = next(one for one in found.decisions if one.name == "set by hand: 3d_cascade_fullres.patch_size")
    assert passed.because.endswith("passed on from 3d_fullres.patch_size")


def test_what_is_set_for_the_cascade_itself_stays():
    found = apply_settings(LARGE, ["3d_cascade_fullres.batch_size=3", "3d_fullres.batch_size=4"]).configurations
    assert (found["3d_cascade_fullres"].batch_size, found["3d_fullres"].batch_size) == (3, 4)
    assert found["3d_lowres"] == LARGE.configurations["3d_lowres"]


def test_nnunets_plan_says_where_the_cascade_differs_from_full_resolution():
    facts = brain(shapes=((400, 512, 512),) * 20)
    plain = nnunet_plans(LARGE, facts)["configurations"]["3d_cascade_fullres"]
    assert plain == {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    changed = nnunet_plans(apply_settings(LARGE, ["3d_cascade_fullres.batch_size=3"]), facts)["configurations"]
    assert changed["3d_cascade_fullres"] == {**plain, "batch_size": 3}
    assert changed["3d_fullres"]["batch_size"] == 2


def test_values_of_schedules_and_weights_are_read():
    found = apply_settings(
        PLAN,
        [
            "training.schedule=plateau",
            "training.stop_at_floor=true",
            "training.plateau_floor=1e-5",
            "training.stop_patience=none",
            "training.class_weights=1,2.5",
            "2d.network.initialisation=orthogonal",
        ],
    )
    assert (found.training.class_weights, found.training.stop_patience) == ((1.0, 2.5), None)
    assert found.configurations["2d"].network.initialisation == "orthogonal"
    counted = apply_settings(PLAN, ["training.class_weights=inverse_frequency"]).training.class_weights
    assert counted == "inverse_frequency"


def test_a_floor_above_the_rate_is_refused():
    with pytest.raises(PlanError, match=r"plateau_floor: 0.1 is above the learning rate 0.01. The nearest: 0.01"):
        apply_settings(PLAN, ["training.schedule=plateau", "training.plateau_floor=0.1"])
