import pytest

from autoseg.data.labels import Label, LabelScheme, Region, train_on_regions
from autoseg.errors import LabelError
from autoseg.planning.alternatives import GPUS_GB, SHOWN_EACH_WAY, alternatives
from autoseg.planning.explain import Explanation, explain, page, region_table, table
from autoseg.planning.planner import make_plan
from autoseg.planning.regions import painted_regions, prove_regions
from autoseg.planning.settings import apply_settings
from tests.planning.facts import brain, pictures, prostate, scheme

LARGE = brain(shapes=((400, 512, 512),) * 20)
TUMOUR = train_on_regions(
    LabelScheme(
        labels=tuple(
            Label(name=name, value=value) for name, value in (("background", 0), ("core", 1), ("edema", 2), ("active", 4))
        ),
        regions=(Region(name="ET", values=(4,)), Region(name="WT", values=(1, 2, 4)), Region(name="TC", values=(1, 4))),
    )
)

FACTS = {
    "brain": brain(),
    "large": LARGE,
    "prostate": prostate(),
    "pictures": pictures(),
    "regions": brain(labels=TUMOUR),
    "CT": brain(channels=("CT",)),
}


def value(plan, name):
    return next(one.value for one in plan.decisions if one.name == name)


def test_the_page_holds_every_decision_with_reason_and_source():
    facts = brain()
    plan = make_plan(facts)
    text = page(explain(plan, facts))
    for decision in plan.decisions:
        assert f"{decision.name}: {decision.value}" in text
    assert text.count("    because ") == text.count("    source: ") == len(plan.decisions)
    assert "--set 3d_fullres.patch_size=128,128,128" in text


def test_the_page_says_what_was_set_by_hand_in_a_section_of_its_own():
    facts = brain()
    text = page(explain(apply_settings(make_plan(facts), ["training.epochs=20"]), facts))
    assert "Set by hand\n-----------\n\nset by hand: training.epochs: 20\n    because was 1000\n    source: --set" in text


@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS)
def test_every_change_is_what_planning_under_that_condition_gives(facts):
    found = alternatives(facts, preset="nnunet", gpu_memory_gb=8)
    shown = [(name, change) for name, changes in found.items() for change in changes]
    assert shown
    for name, change in shown:
        if change.given.startswith("--gpu-memory"):
            other = make_plan(facts, gpu_memory_gb=float(change.given.split()[1]))
        elif change.given.startswith("--preset"):
            other = make_plan(facts, preset=change.given.split()[1])
        else:
            continue
        assert {one.name: one.value for one in other.decisions}.get(name, "none") == change.value
        assert change.value != value(make_plan(facts), name)


def test_the_nearest_budgets_that_change_the_patch_are_named():
    found = alternatives(brain(), preset="nnunet", gpu_memory_gb=8)["patch of 3d_fullres"]
    more = [change.given for change in found if change.given.startswith("--gpu-memory")]
    usual = value(make_plan(brain()), "patch of 3d_fullres")
    nearest = next(
        gb for gb in GPUS_GB if gb > 8 and value(make_plan(brain(), gpu_memory_gb=gb), "patch of 3d_fullres") != usual
    )
    assert f"--gpu-memory {nearest}" in more
    assert len(more) <= 2 * SHOWN_EACH_WAY


def test_a_channel_under_another_name_would_be_normalised_otherwise():
    facts = brain(channels=("CT",))
    (change,) = alternatives(facts, preset="nnunet", gpu_memory_gb=8)["normalisation of CT"]
    assert change.given == "the channel were called MRI"
    assert change.value == "z-score of the case inside the body"
    (back,) = alternatives(brain(), preset="nnunet", gpu_memory_gb=8)["normalisation of T1"]
    assert back.value == "clip to -80 .. 200, subtract 50, divide by 20"


@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS)
def test_every_override_says_what_was_decided_and_can_be_set(facts):
    plan = make_plan(facts)
    overrides = [one.override for one in explain(plan, facts).decisions if one.override]
    assert len(overrides) >= 5
    again = apply_settings(plan, overrides)
    assert again.training == plan.training
    assert again.configurations == plan.configurations


def test_an_explanation_for_machines_is_read_back_as_it_was():
    facts = brain(labels=TUMOUR)
    found = explain(make_plan(facts), facts)
    assert Explanation.model_validate_json(found.model_dump_json()) == found


def test_regions_are_a_table_in_the_order_of_painting_with_the_voxels_of_what_each_writes():
    facts = brain(labels=TUMOUR, label_voxels={0: 900, 1: 30, 2: 50, 4: 20})
    found = explain(make_plan(facts), facts)
    head, *rows = region_table(found.regions)
    assert head == ("order", "region", "labels inside", "writes", "voxels of it in training")
    assert rows == [
        ("1", "WT", "1, 2, 4", "2 (edema)", "50"),
        ("2", "TC", "1, 4", "1 (core)", "30"),
        ("3", "ET", "4", "4 (active)", "20"),
    ]
    assert "    1      WT      1, 2, 4        2 (edema)   50" in page(found)


def test_labels_have_no_table_of_regions():
    assert painted_regions(scheme("organ"), label_voxels={}) == ()


def test_regions_are_proved_on_the_values_that_occur():
    assert prove_regions(TUMOUR, label_voxels={0: 5, 1: 2, 4: 1}) == (0, 1, 4)
    assert prove_regions(TUMOUR, label_voxels={}) == (0, 1, 2, 4)
    facts = brain(labels=TUMOUR, label_voxels={0: 5, 1: 2, 4: 1})
    because = next(one.because for one in make_plan(facts).decisions if one.name == "regions")
    assert because.endswith("proved: every value that occurs in the training labels (0, 1, 4) comes back as it was")


def test_a_label_that_its_regions_cannot_bring_back_is_named_with_its_voxels():
    regions = (Region(name="WT", values=(1, 2, 4), writes=2), Region(name="TC", values=(1, 4), writes=1))
    broken = LabelScheme(labels=TUMOUR.labels, regions=regions, target="regions")
    message = r"label 'active' \(4\), 20 voxels of the training labels, cannot be recovered .* it would come back as 1"
    with pytest.raises(LabelError, match=message):
        make_plan(brain(labels=broken, label_voxels={0: 900, 1: 30, 4: 20}))
    assert make_plan(brain(labels=broken, label_voxels={0: 900, 1: 30})).training.loss == "dice_bce"


def test_the_table_has_a_row_for_each_configuration():
    head, *rows = table(make_plan(LARGE))
    assert head[0] == "configuration"
    assert [row[0] for row in rows] == ["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    assert rows[3][-1].endswith("after 3d_lowres")
