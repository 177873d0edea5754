import json
from functools import cache

import pytest

from autoseg.data.labels import LabelScheme, Region
from autoseg.errors import ArtefactError, PlanError, UnknownNameError
from autoseg.fingerprint.fingerprint import CaseFingerprint
from autoseg.planning.class_weights import with_counted_weights
from autoseg.planning.names import check_loss
from autoseg.planning.planner import make_plan
from autoseg.planning.recipes import Recipe, apply_recipe, configuration_for, load_recipe, recipe_names
from autoseg.planning.settings import apply_settings
from tests.planning.facts import brain, pictures, prostate, scheme

TUMOUR = scheme("edema", "necrotic", "enhancing")
REGIONS = (
    Region(name="WT", values=(1, 2, 3)),
    Region(name="TC", values=(2, 3)),
    Region(name="ET", values=(3,)),
)
BRATS = LabelScheme(labels=TUMOUR.labels, regions=REGIONS)
CHANNELS = ("FLAIR", "T1w", "t1gd", "T2w")


def case(shape=(155, 240, 240), spacing_mm=(1.0, 1.0, 1.0), voxels=None):
    return CaseFingerprint(
        id="one",
        shape=shape,
        shape_after_crop=(138, 169, 138),
        spacing_mm=spacing_mm,
        orientation="RAS",
        relative_size=0.36,
        label_voxels=voxels or {0: 8_000_000, 1: 60_000, 2: 15_000, 3: 25_000},
        files={},
    )


@cache
def brats_plan(labels=BRATS, **changes):
    return make_plan(brain(labels=labels, channels=CHANNELS, intensities=(), **changes))


def applied(name, plan=None, configuration=None, cases=None):
    plan, recipe = plan or brats_plan(), load_recipe(name)
    chosen = configuration_for(recipe, plan, configuration)
    found = apply_recipe(plan, recipe, configuration=chosen, cases=cases or [case()])
    return found, found.configurations[chosen]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_fits_a_plan_for_brain_tumours_and_says_what_it_changed(name):
    found, _ = applied(name)
    check_loss(found.training.loss, found.labels.target)
    changed = [one for one in found.decisions if one.source == f"recipe {name}"]
    named = load_recipe(name)
    assert {one.name.rpartition(": ")[2].removeprefix("training.") for one in changed} >= set(named.training)
    assert named.title
    assert named.source


def test_the_recipes_are_those_that_are_promised():
    assert recipe_names() == [
        *("brats2020", "isensee2017", "nnunet", "transfer", "unet2d_bce", "unet2d_ce", "unet3d_softdice"),
    ]


def test_unet2d_ce_is_as_described():
    plan, one = applied("unet2d_ce")
    assert (plan.labels.target, plan.labels.output_channels, plan.training.loss) == ("labels", 4, "ce")
    assert (one.dimensions, one.network.initialisation, one.network.dropout) == (2, "he_normal", 0.2)
    assert (plan.training.optimiser, plan.training.learning_rate) == ("adam", 1e-3)


def test_unet2d_bce_takes_whole_slices_to_three_sigmoid_channels():
    plan, one = applied("unet2d_bce")
    assert (one.patch_size, one.batch_size, plan.input_channels(one)) == ((240, 240), 10, 4)
    assert (plan.labels.output_names, plan.training.loss) == (("WT", "TC", "ET"), "bce")
    training = plan.training
    assert (training.optimiser, training.learning_rate, training.schedule) == ("adam", 1e-4, "plateau")
    assert (training.plateau_floor, training.epochs, training.stop_at_floor) == (1e-6, 100, True)


def test_whole_slices_follow_spacing_and_axes_and_the_largest_image():
    plan = make_plan(prostate(shapes=((320, 20, 320),) * 12, spacings_mm=((0.625, 3.6, 0.625),) * 12))
    assert plan.transpose_forward == (1, 0, 2)
    cases = [case((330, 24, 322), (0.625, 3.6, 0.625)), case((150, 20, 170), (1.25, 3.6, 1.25))]
    _, one = applied("unet2d_bce", plan, cases=cases)
    assert one.patch_size == (336, 352)  # 330 and 340 at multiples of 16


def test_unet3d_softdice_is_as_described():
    plan, one = applied("unet3d_softdice")
    assert (one.dimensions, one.batch_size, plan.training.loss, plan.training.optimiser) == (3, 8, "dice", "adam")
    assert one.patch_size == (64, 64, 64)
    assert plan.training.epochs > 100


def test_isensee2017_is_as_published():
    plan, one = applied("isensee2017")
    network = one.network
    assert (network.kind, network.features, network.dropout) == ("isensee2017", (16, 32, 64, 128, 256), 0.3)
    assert (network.norm, network.encoder_blocks, plan.training.deep_supervision) == ("instance", (1,) * 5, False)
    assert (plan.training.loss, plan.labels.target) == ("weighted_dice", "regions")
    assert plan.labels.output_names == ("edema", "necrotic", "enhancing")
    assert [region.values for region in plan.labels.regions] == [(1,), (2,), (3,)]


def test_brats2020_is_as_published():
    plan, one = applied("brats2020")
    assert (one.batch_size, one.batch_dice, one.network.norm) == (5, True, "batch")
    assert (plan.labels.output_names, plan.training.augmentation) == (("WT", "TC", "ET"), "brats")


def test_nnunet_is_the_plan_itself():
    plan = brats_plan()
    found, _ = applied("nnunet", plan)
    assert (found.training, found.configurations, found.labels) == (plan.training, plan.configurations, plan.labels)


@pytest.mark.parametrize("name", ["unet2d_bce", "brats2020", "isensee2017"])
def test_without_regions_each_label_gets_a_channel(name):
    plan, _ = applied(name, brats_plan(labels=TUMOUR))
    assert plan.labels.output_names == ("edema", "necrotic", "enhancing")
    (decision,) = (one for one in plan.decisions if one.name == "target")
    assert decision.value == "one channel per label"
    assert applied(name, brats_plan(labels=scheme("tumour")))[0].labels.output_names == ("tumour",)


def test_regions_that_leave_a_label_out_are_not_trained_on():
    partial = LabelScheme(labels=TUMOUR.labels, regions=REGIONS[1:])
    plan, _ = applied("unet2d_bce", brats_plan(labels=partial))
    assert plan.labels.output_names == ("edema", "necrotic", "enhancing")


def test_what_is_set_by_hand_comes_after_the_recipe():
    plan, _ = applied("unet2d_bce")
    found = apply_settings(plan, ["training.learning_rate=0.01", "2d.batch_size=3"])
    assert (found.training.learning_rate, found.configurations["2d"].batch_size) == (0.01, 3)
    last = found.decisions[-1]
    assert (last.name, last.because, last.source) == ("set by hand: 2d.batch_size", "was 10", "--set")


def test_a_recipe_is_trained_on_its_own_configuration_or_the_one_asked_for():
    plan = brats_plan(shapes=((400, 512, 512),) * 20)
    assert configuration_for(load_recipe("unet2d_ce"), plan, None) == "2d"
    assert configuration_for(load_recipe("isensee2017"), plan, None) == "3d_fullres"
    assert configuration_for(load_recipe("isensee2017"), plan, "3d_lowres") == "3d_lowres"
    assert configuration_for(load_recipe("nnunet"), plan, None) == "3d_fullres"
    assert configuration_for(load_recipe("nnunet"), plan, "2d") == "2d"
    assert configuration_for(load_recipe("nnunet"), make_plan(pictures()), None) == "2d"
    with pytest.raises(UnknownNameError, match="Did you mean '3d_lowres'"):
        configuration_for(load_recipe("nnunet"), plan, "3d_lores")


def test_a_configuration_of_other_dimensions_is_refused():
    message = "recipe isensee2017 is for networks in 3 dimensions. Of Brain it can be trained on: 3d_fullres"
    with pytest.raises(PlanError, match=message):
        configuration_for(load_recipe("isensee2017"), brats_plan(), "2d")
    with pytest.raises(PlanError, match="it can be trained on: nothing"):
        configuration_for(load_recipe("isensee2017"), make_plan(pictures()), None)


def test_a_recipe_of_ones_own_is_a_file(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"name": "mine", "title": "Mine", "source": "me", "training": {"mirror_axes": [0]}}))
    found = apply_recipe(brats_plan(), load_recipe(str(file)), configuration="2d", cases=[case()])
    assert found.training.mirror_axes == (0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"epoch": 3}}, r"training\.epoch: unknown key"),
        ({"training": {"epochs": "many"}}, r"training\.epochs: expected a valid integer, found 'many'"),
        ({"depth": 0}, "depth: expected greater than or equal to 1"),
        ({"target": "regions"}, "names a loss that fits it"),
        ({"colour": "red"}, "colour: unknown key"),
        ({"name": "../up"}, "name: "),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_with_the_key(tmp_path, changes, message):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"name": "mine", "title": "Mine", "source": "me", **changes}))
    with pytest.raises(ArtefactError, match=message):
        load_recipe(str(file))


def test_unknown_recipes_and_keys_are_refused_with_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'unet2d_bce'"):
        load_recipe("unet2d_bc")
    with pytest.raises(ArtefactError, match="cannot be read"):
        load_recipe(str(tmp_path / "none.json"))
    wrong = Recipe(name="x", title="x", source="x", configuration={"network.nrm": "batch"})
    with pytest.raises(UnknownNameError, match=r"Did you mean '2d.network.norm'"):
        apply_recipe(brats_plan(), wrong, configuration="2d", cases=[case()])


def test_weights_by_frequency_are_counted_in_the_labels():
    plan = apply_settings(brats_plan(labels=TUMOUR), ["training.class_weights=inverse_frequency"])
    found = with_counted_weights(plan, [case(voxels={0: 400, 1: 50}), case(voxels={0: 400, 1: 50, 2: 200})])
    # 1/800, 1/100, 1/200 and nothing for what never occurs, scaled to a mean of 1.
    total = 1 / 800 + 1 / 100 + 1 / 200
    assert found.training.class_weights == pytest.approx((4 / 800 / total, 4 / 100 / total, 4 / 200 / total, 0), rel=1e-5)
    assert found.decisions[-1].because.startswith("inversely proportional to voxels: background 800, edema 100")


def test_weighted_dice_counts_its_weights_and_others_are_left_alone():
    isensee, _ = applied("isensee2017")
    weights = with_counted_weights(isensee, [case()]).training.class_weights
    assert sum(weights) == pytest.approx(3, rel=1e-5)
    assert [weight * count for weight, count in zip(weights, (60, 15, 25), strict=True)] == pytest.approx(
        [weights[0] * 60] * 3, rel=1e-4
    )  # of edema, necrotic and enhancing

    given = apply_settings(isensee, ["training.class_weights=1,2,3"])
    assert with_counted_weights(given, [case()]) == given
    assert with_counted_weights(brats_plan(), [case()]) == brats_plan()
