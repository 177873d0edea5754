"""Settings for trainings with room for few steps."""

import pytest

from autoseg.planning.planner import make_plan
from autoseg.planning.settings import apply_settings
from autoseg.training.short import ENOUGH_STEPS, fitted_to_budget
from tests.planning.facts import brain


def small_plan(*, batch_size):
    return apply_settings(make_plan(brain(), preset="nnunet", gpu_memory_gb=8), [f"3d_fullres.batch_size={batch_size}"])


def fitted(*, steps, settings=(), plan=None):
    return fitted_to_budget(
        plan or small_plan(batch_size=9), "3d_fullres", step_s=2.0, budget_s=2.0 * steps, settings=settings
    )


def test_a_training_with_enough_steps_is_left_as_planned():
    plan = small_plan(batch_size=9)
    assert fitted(steps=ENOUGH_STEPS, plan=plan) == plan


def test_few_steps_get_another_optimiser_light_augmentation_and_a_reason():
    plan = fitted(steps=600)
    assert (plan.training.optimiser, plan.training.learning_rate, plan.training.augmentation) == ("adamw", 2e-3, "light")
    assert "20 min have room for only 600 steps of 2 s (batch 9)" in plan.decisions[-1].because


@pytest.mark.parametrize(("steps", "batch"), [(100, 2), (1000, 4), (1999, 8), (2001, 9), (9000, 9)])
def test_the_batch_shrinks_until_two_thousand_steps_fit(steps, batch):
    assert fitted(steps=steps).configurations["3d_fullres"].batch_size == batch


def test_what_was_set_by_hand_is_kept():
    plan = fitted(steps=600, settings=["training.optimiser=sgd", "3d_fullres.batch_size=9"])
    assert (plan.training.optimiser, plan.training.learning_rate, plan.training.augmentation) == ("sgd", 0.01, "light")
    assert plan.configurations["3d_fullres"].batch_size == 9


def test_a_schedule_set_by_hand_keeps_the_optimiser_it_was_chosen_for():
    assert fitted(steps=600, settings=["training.schedule=plateau"]).training.optimiser == "sgd"


def test_a_budget_with_room_for_hardly_any_step_is_said_to_be_too_small(caplog):
    fitted_to_budget(small_plan(batch_size=9), "3d_fullres", step_s=53.6, budget_s=90, settings=())
    # The batch shrinks from 9 to 2, so a step takes 11.9 s.
    assert "a time budget of 1.5 min has room for about 7 steps of 11.9 s (batch 2): too few to learn from" in caplog.text
    assert "Give at least 10 min a fold" in caplog.text
    caplog.clear()
    fitted(steps=600)
    assert caplog.text == ""
