"""Sizing by measurement; the device is a formula here, but for one probe in a process of its own."""

import pytest

from autoseg.errors import TrainingError
from autoseg.planning.memory import GIB, training_memory
from autoseg.planning.planner import largest_batches, make_plan
from autoseg.planning.settings import apply_settings
from autoseg.training.probe import Measured, measured_apart, measurements, probed
from tests.planning.facts import brain

FACTS = brain()
PLAN = make_plan(FACTS)


def device(capacity_gb, *, off=1.0):
    """A device that takes `off` times what is predicted."""

    def measure(plan, one):
        use = training_memory(one, channels=1, labels=plan.labels, training=plan.training).total * off
        capacity = int(capacity_gb * GIB)
        return Measured(int(use) if use <= capacity else None, capacity, "formula", "bf16")

    return measure


@pytest.mark.parametrize("off", [0.8, 1.0, 1.3])
@pytest.mark.parametrize("capacity_gb", [3, 6, 8, 24])
def test_a_probed_plan_fits_with_a_tenth_to_spare(capacity_gb, off):
    measure = device(capacity_gb, off=off)
    plan = probed(PLAN, most=largest_batches(FACTS, PLAN), measure=measure)
    for one in plan.configurations.values():
        found = measure(plan, one)
        assert found.peak_bytes <= 0.9 * found.capacity_bytes
        assert one.batch_size >= 2
        assert any(decision.name == f"probe of {one.name}" for decision in plan.decisions)


def test_a_batch_grows_into_unused_memory_but_not_beyond_its_cap():
    plan = probed(PLAN, most={"2d": 105, "3d_fullres": 3}, measure=device(80))
    assert [one.batch_size for one in plan.configurations.values()] == [105, 3]


def test_a_batch_that_was_set_by_hand_does_not_grow_but_shrinks_where_it_must():
    by_hand = apply_settings(PLAN, ["3d_fullres.batch_size=4"])
    most = {"2d": 105, "3d_fullres": 9}
    assert probed(by_hand, most=most, measure=device(80)).configurations["3d_fullres"].batch_size == 4
    assert probed(by_hand, most=most, measure=device(10)).configurations["3d_fullres"].batch_size == 3


def test_decisions_say_the_sizes_that_the_probe_left():
    plan = probed(PLAN, most=largest_batches(FACTS, PLAN), measure=device(5))
    values = {one.name: one for one in plan.decisions}
    one = plan.configurations["3d_fullres"]
    assert one.patch_size < PLAN.configurations["3d_fullres"].patch_size
    assert values["patch of 3d_fullres"].value == " x ".join(map(str, one.patch_size))
    assert "changed by probe of 3d_fullres" in values["patch of 3d_fullres"].because
    first, second = measurements(plan)
    assert first.startswith("probe of 2d: patch 192 x 160, batch ")
    assert "patch 128x128x128 batch 2 took more than there is" in second


def test_a_little_unused_memory_is_left_alone():
    predicted = PLAN.configurations["3d_fullres"].predicted_training_bytes / GIB
    only = PLAN.model_copy(update={"configurations": {"3d_fullres": PLAN.configurations["3d_fullres"]}})
    plan = probed(only, most={"3d_fullres": 9}, measure=device(predicted / 0.88))
    assert plan.configurations["3d_fullres"].batch_size == 2


def test_a_device_too_small_for_anything_is_an_error():
    with pytest.raises(TrainingError, match="2d: "):
        probed(PLAN, most=largest_batches(FACTS, PLAN), measure=device(0.5))


@pytest.mark.slow
def test_three_real_steps_in_a_process_of_their_own_are_measured():
    plan = apply_settings(make_plan(brain(shapes=((16, 16, 16),) * 20)), ["3d_fullres.batch_size=2"])
    found = measured_apart(plan, plan.configurations["3d_fullres"], device="cpu")
    assert found.capacity_bytes == plan.configurations["3d_fullres"].memory_budget_bytes
    assert 0.05 * GIB < found.peak_bytes < 4 * GIB
    assert found.device == "cpu"


@pytest.mark.slow
def test_a_probe_on_a_device_that_is_not_there_says_so():
    with pytest.raises(TrainingError, match="probe of 2d failed on device cuda:9"):
        measured_apart(PLAN, PLAN.configurations["2d"], device="cuda:9")


@pytest.mark.slow
def test_real_steps_make_a_batch_grow_into_the_memory():
    plan = make_plan(brain(shapes=((16, 16, 16),) * 200, spacings_mm=((1.0, 1.0, 1.0),) * 200, training_cases=200))
    one = plan.configurations["3d_fullres"]
    small = one.model_copy(update={"batch_size": 2, "memory_budget_bytes": 2 * GIB})
    found = probed(plan.model_copy(update={"configurations": {"3d_fullres": small}}), most={"3d_fullres": 4})
    sized = found.configurations["3d_fullres"]
    assert (sized.patch_size, sized.batch_size) == (one.patch_size, 4)
    assert "three steps on cpu" in measurements(found)[0]
