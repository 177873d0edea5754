import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.training.budget import Position, StepPace, TimePace


def test_progress_and_time_left_of_steps_worked_out_by_hand():
    pace = StepPace(epochs=4, iterations=10, validation=2)
    position = Position(epoch=1, iteration=5, step_s=2.0, validation_step_s=1.0, closing_s=3.0)
    assert pace.progress(position) == 15 / 40
    assert pace.left_s(position) == 25 * 2 + 3 * (2 * 1 + 3)
    assert pace.left_s(Position()) is None
    assert pace.left_s(Position(iteration=1, step_s=60.0)) is None  # the first step is no measure


def test_steps_end_with_the_epoch_and_epochs_with_the_training():
    pace = StepPace(epochs=2, iterations=3, validation=1)
    assert pace.takes_another_step(Position(iteration=2))
    assert not pace.takes_another_step(Position(iteration=3))
    assert not pace.is_finished(Position(epoch=1))
    assert pace.is_finished(Position(epoch=2))


def run(pace, *, step_s, validation_step_s, closing_s):
    """The seconds, epochs and steps of a training whose parts always take the same time."""
    position, now_s, steps = Position(), 0.0, 0
    while not pace.is_finished(position):
        while pace.takes_another_step(position):
            now_s += step_s
            steps += 1
            position = position.after_step(now_s=now_s, duration_s=step_s)
        iterations = pace.validation_iterations(position)
        now_s += iterations * validation_step_s
        position = position.after_validation(
            now_s=now_s, duration_s=iterations * validation_step_s, iterations=iterations
        ).next_epoch()
        now_s += closing_s
        position = position.after_closing(now_s=now_s, duration_s=closing_s)
    return now_s, position.epoch, steps


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([30.0, 60.0, 300.0, 1200.0, 3600.0]), st.floats(0.05, 1.4), st.floats(0.2, 1.0), st.floats(0.0, 0.3))
def test_a_time_budget_ends_within_five_percent(budget_s, step_s, validation_share, closing_s):
    pace = TimePace(budget_s=budget_s, validation=50)
    seconds, epochs, steps = run(pace, step_s=step_s, validation_step_s=step_s * validation_share, closing_s=closing_s)
    assert 0.95 * budget_s <= seconds <= 1.05 * budget_s
    assert 2 <= epochs <= 150
    assert steps * step_s >= 0.75 * budget_s


def test_epochs_last_a_twentieth_of_the_budget_within_limits():
    assert run(TimePace(1200.0, validation=50), step_s=1.0, validation_step_s=0.4, closing_s=0.5)[1] == 20
    assert run(TimePace(86400.0, validation=50), step_s=4.0, validation_step_s=1.0, closing_s=0.5)[1] == pytest.approx(
        144, abs=3
    )
    assert run(TimePace(30.0, validation=50), step_s=0.5, validation_step_s=0.2, closing_s=0.1)[1] == 3


def test_even_a_budget_shorter_than_a_step_takes_one():
    assert run(TimePace(1.0, validation=5), step_s=10.0, validation_step_s=4.0, closing_s=1.0)[2] == 1


def test_validation_takes_a_tenth_of_an_epoch_and_no_more_than_asked_for():
    pace = TimePace(budget_s=1200.0, validation=50)
    slow = Position(epoch=3, epoch_started_s=180.0, elapsed_s=230.0, step_s=1.0, validation_step_s=0.5)
    assert pace.validation_iterations(slow) == 12  # 10 % of 60 s at half a second each
    fast = Position(epoch=3, epoch_started_s=180.0, elapsed_s=230.0, step_s=0.1, validation_step_s=0.01)
    assert pace.validation_iterations(fast) == 50


def test_the_first_step_which_warms_up_is_forgotten():
    position = Position().after_step(now_s=9, duration_s=9.0).after_step(now_s=10, duration_s=1.0)
    assert position.step_s == 1.0
    assert position.after_step(now_s=12, duration_s=2.0).step_s == pytest.approx(1.1)
