import copy
import math

import pytest
import torch

from autoseg.errors import TrainingError
from autoseg.training.budget import TimePace
from autoseg.training.checkpoint import load_checkpoint, save_checkpoint
from autoseg.training.loop import fit
from autoseg.training.observers import Several, Unwatched
from autoseg.training.patches import Batch
from autoseg.training.state import as_checkpoint, restore
from tests.training.tiny import NETWORK, Discs, around, settings, setup, state, weights


class Recorder(Unwatched):
    def __init__(self):
        self.steps, self.rows, self.warnings = [], [], []

    def stepped(self, step):
        self.steps.append(step)

    def epoch_ended(self, history):
        self.rows.append(history[-1])

    def warned(self, message):
        self.warnings.append(message)


def trained(chosen, **changes):
    found = state(chosen)
    fit(found, setup(chosen, **changes), around())
    return found


def equal(first, second):
    return all(torch.equal(first[name], second[name]) for name in first) and first.keys() == second.keys()


def test_a_network_learns_discs():
    chosen = settings(epochs=3, iterations_per_epoch=20, learning_rate=0.02, momentum=0.9)
    found = trained(chosen)
    assert found.history[-1].mean_pseudo_dice > 0.8
    assert found.history[-1].train_loss < found.history[0].train_loss


def test_the_same_seed_gives_the_same_weights_bit_for_bit():
    assert equal(weights(trained(settings())), weights(trained(settings())))
    assert not equal(weights(trained(settings())), weights(trained(settings(seed=8))))


VARIANTS = pytest.mark.parametrize(
    ("changes", "network"),
    [
        ({}, NETWORK),
        ({"weight_average": 0.9}, NETWORK),
        ({"optimiser": "adam", "learning_rate": 1e-3}, NETWORK.model_copy(update={"dropout": 0.2})),
        ({"schedule": "cosine", "warmup_share": 0.3}, NETWORK.model_copy(update={"norm": "batch"})),
        ({"schedule": "plateau", "plateau_patience": 1, "learning_rate": 1.0, "freeze_encoder_epochs": 2}, NETWORK),
    ],
    ids=["plain", "averaged", "dropout", "batch_norm", "plateau"],
)


@VARIANTS
@pytest.mark.parametrize("stop_after", [2, 5, 13])
def test_an_interrupted_and_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path, changes, network, stop_after):
    chosen = settings(**changes)
    unbroken = state(chosen, network=network)
    fit(unbroken, setup(chosen), around())

    asked = iter(range(1000))
    broken = state(chosen, network=network)
    stopping = around(
        interrupted=lambda: next(asked) >= stop_after,
        save=lambda found: save_checkpoint(as_checkpoint(found), tmp_path),
    )
    with pytest.raises(KeyboardInterrupt, match="same command resumes"):
        fit(broken, setup(chosen), stopping)
    resumed = state(chosen, network=network)
    restore(resumed, load_checkpoint(tmp_path))
    fit(resumed, setup(chosen), around())

    assert equal(weights(unbroken), weights(resumed))
    assert equal(unbroken.network.state_dict(), resumed.network.state_dict())
    values = [
        [(row.train_loss, row.validation_loss, row.pseudo_dice) for row in run.history] for run in (unbroken, resumed)
    ]
    assert values[0] == values[1]
    assert unbroken.best_ema == resumed.best_ema


def test_a_training_that_has_no_more_to_gain_ends_early_whatever_the_budget_and_stays_ended(tmp_path):
    # A rate so low that no validation loss is better by more than noise: the second epoch brings the end.
    chosen = settings(epochs=50, learning_rate=1e-12, momentum=0.0, stop_patience=1)
    pace = TimePace(budget_s=10_000.0, validation=2)
    for changes in ({}, {"pace": pace, "epochs": None, "iterations": None}):
        found, clock = state(chosen), iter(range(100_000))
        saving = around(
            save=lambda done: save_checkpoint(as_checkpoint(done), tmp_path), clock=lambda c=clock: 5.0 * next(c)
        )
        fit(found, setup(chosen, validation=Same(), **changes), saving)
        assert len(found.history) == 2
        again = state(chosen)
        restore(again, load_checkpoint(tmp_path))
        fit(again, setup(chosen, validation=Same(), **changes), around())
        assert len(again.history) == 2


class Same:
    """The same batch every time."""

    def batch(self, epoch, iteration):
        return Discs(1).batch(0, 0)


def test_the_rate_that_falls_on_a_plateau_stands_in_the_history():
    chosen = settings(epochs=4, schedule="plateau", plateau_patience=1, learning_rate=1e-12, plateau_floor=2e-13)
    found = trained(chosen, validation=Same())
    assert [row.learning_rate for row in found.history] == pytest.approx([1e-12, 1e-12, 5e-13, 2.5e-13])


def test_an_interrupt_while_the_last_epoch_is_written_down_is_not_lost(tmp_path):
    chosen, asked = settings(), []

    class Asking(Unwatched):
        def epoch_ended(self, history):
            asked.extend(history[chosen.epochs - 1 :])

    stopping = around(
        interrupted=lambda: bool(asked),
        observer=Asking(),
        save=lambda found: save_checkpoint(as_checkpoint(found), tmp_path),
    )
    with pytest.raises(KeyboardInterrupt, match="same command resumes"):
        fit(state(chosen), setup(chosen), stopping)
    resumed = state(chosen)
    restore(resumed, load_checkpoint(tmp_path))
    fit(resumed, setup(chosen), around())
    assert equal(weights(trained(chosen)), weights(resumed))


def test_a_killed_run_resumes_from_the_last_epoch_and_equals_an_unbroken_one(tmp_path):
    chosen = settings()
    unbroken = trained(chosen)

    class Killed(Unwatched):
        def stepped(self, step):
            if (step.epoch, step.iteration) == (2, 3):
                raise SystemExit

    saving = around(observer=Killed(), save=lambda found: save_checkpoint(as_checkpoint(found), tmp_path))
    with pytest.raises(SystemExit):
        fit(state(chosen), setup(chosen), saving)
    resumed = state(chosen)
    restore(resumed, load_checkpoint(tmp_path))
    assert resumed.position.epoch == 2
    fit(resumed, setup(chosen), around())
    assert equal(weights(unbroken), weights(resumed))


def test_training_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    trained(settings(epochs=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_step_and_epoch_is_seen():
    chosen, seen = settings(), Recorder()
    fit(state(chosen), setup(chosen), around(observer=Several(seen)))
    assert [(step.epoch, step.iteration) for step in seen.steps] == [(e, i) for e in range(3) for i in (1, 2, 3, 4)]
    assert [row.steps for row in seen.rows] == [4, 4, 4]
    assert seen.steps[-1].progress == 1.0
    rates = [step.learning_rate for step in seen.steps]
    assert rates[0] == 0.01
    assert rates[4] == pytest.approx(0.01 * (2 / 3) ** 0.9)
    assert all(0 <= step.waiting_share <= 1 for step in seen.steps)


def test_the_best_epoch_is_saved_when_the_moving_average_rises():
    chosen, saved = settings(epochs=5, iterations_per_epoch=5, momentum=0.9), []
    found = state(chosen)
    fit(found, setup(chosen), around(save_best=lambda at: saved.append(at.best_ema)))
    averages = [row.ema_pseudo_dice for row in found.history]
    assert saved == [value for index, value in enumerate(averages) if value > max(averages[:index], default=-1)]
    first, second = found.history[:2]
    assert second.ema_pseudo_dice == pytest.approx(0.9 * first.mean_pseudo_dice + 0.1 * second.mean_pseudo_dice)


class Poisoned:
    """Discs of which some iterations hold a NaN."""

    def __init__(self, poisoned):
        self.poisoned = poisoned

    def batch(self, epoch, iteration):
        batch = Discs().batch(epoch, iteration)
        if iteration in self.poisoned:
            batch.image[0, 0, 3, 3] = math.nan
        return Batch(image=batch.image, target=batch.target, case_ids=(f"ill{iteration}", "other"))


def test_a_step_with_nan_is_skipped_and_its_cases_named():
    chosen, seen = settings(epochs=1), Recorder()
    found = state(chosen)
    fit(found, setup(chosen, training=Poisoned({1})), around(observer=seen))
    assert len(seen.warnings) == 1
    assert "ill1, other" in seen.warnings[0]
    assert [step.loss is None for step in seen.steps] == [False, True, False, False]
    assert found.history[0].skipped_steps == 1
    assert math.isfinite(found.history[0].train_loss)
    assert all(torch.isfinite(tensor).all() for tensor in weights(found).values())


def test_ten_steps_with_nan_in_a_row_end_the_run_with_likely_causes():
    chosen = settings(epochs=1, iterations_per_epoch=20)
    with pytest.raises(TrainingError, match=r"10 steps in a row.*ill11.*learning_rate"):
        fit(state(chosen), setup(chosen, training=Poisoned(set(range(2, 20)))), around())


def test_the_averaged_weights_are_validated_and_kept_but_training_goes_on_with_its_own():
    chosen = settings(weight_average=0.99)
    found, plain = trained(chosen), trained(settings())
    assert equal(found.network.state_dict(), plain.network.state_dict())
    assert not equal(weights(found), weights(plain))


class Clock:
    """A clock that each look moves on by `tick_s`."""

    def __init__(self, tick_s):
        self.now_s, self.tick_s = 100.0, tick_s

    def __call__(self):
        self.now_s += self.tick_s
        return self.now_s


@pytest.mark.parametrize(("budget_s", "tick_s", "epochs"), [(30.0, 0.15, 3), (240.0, 0.4, 20)])
def test_a_time_budget_is_kept_within_five_percent(budget_s, tick_s, epochs):
    chosen = settings()
    found = state(chosen)
    timed = setup(chosen, pace=TimePace(budget_s=budget_s, validation=10), epochs=None, iterations=None)
    fit(found, timed, around(clock=Clock(tick_s)))
    assert found.position.elapsed_s == pytest.approx(budget_s, rel=0.05)
    assert len(found.history) == pytest.approx(epochs, abs=1)
    assert found.history[-1].learning_rate < 0.1 * chosen.learning_rate


def test_a_resumed_time_budget_counts_the_time_already_used(tmp_path):
    chosen = settings()
    timed = setup(chosen, pace=TimePace(budget_s=60.0, validation=10), epochs=None, iterations=None)
    first, asked = state(chosen), iter(range(1000))
    stopping = around(
        clock=Clock(0.15),
        interrupted=lambda: next(asked) >= 60,
        save=lambda found: save_checkpoint(as_checkpoint(found), tmp_path),
    )
    with pytest.raises(KeyboardInterrupt):
        fit(first, timed, stopping)
    used_s = first.position.elapsed_s
    assert 15 < used_s < 45
    second = state(chosen)
    restore(second, load_checkpoint(tmp_path))
    clock = Clock(0.15)
    begun_s = copy.copy(clock.now_s)
    fit(second, timed, around(clock=clock))
    assert clock.now_s - begun_s == pytest.approx(60 - used_s, abs=3)
    assert second.position.elapsed_s == pytest.approx(60, rel=0.05)
