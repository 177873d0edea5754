import pytest

from autoseg.planning.plan import TrainingSettings
from autoseg.training.optim import learning_rate
from autoseg.training.plateau import decayed_to, falls, falls_to_floor, resting, why_ended


def settings(**changes):
    values = {"schedule": "plateau", "learning_rate": 1e-4, "plateau_factor": 0.1, "plateau_patience": 2}
    return TrainingSettings(**(values | changes))


def test_resting_counts_the_epochs_since_the_best_loss():
    assert resting([3.0, 2.0, 2.5, None, 1.0, 1.0]) == [0, 0, 1, 2, 0, 1]
    assert resting([None, None, 5.0]) == [1, 2, 0]
    assert resting([]) == []


def test_a_gain_within_the_noise_is_none_also_below_zero():
    assert resting([1.0, 0.99995, 0.9998]) == [0, 1, 0]
    assert resting([-1.0, -1.00005, -1.0002]) == [0, 1, 0]


def test_the_rate_falls_after_every_so_many_epochs_without_a_better_loss():
    # Best at epoch 1; falls after epochs 3 and 5; better again at 6; falls after 8.
    losses = [5.0, 4.0, 4.0, 4.5, 4.0, 4.1, 3.0, 3.0, 3.0]
    found = [falls(losses[:epoch], patience=2) for epoch in range(len(losses) + 1)]
    assert found == [0, 0, 0, 0, 1, 1, 2, 2, 2, 3]
    rates = [learning_rate(settings(), 0.5, losses[:epoch]) for epoch in (0, 4, 6, 9)]
    assert rates == pytest.approx([1e-4, 1e-5, 1e-6, 1e-6])


def test_warm_up_comes_before_the_plateau():
    chosen = settings(warmup_share=0.2)
    assert learning_rate(chosen, 0.1, [1.0]) == pytest.approx(5e-5)
    assert learning_rate(chosen, 0.2, [1.0, 1.0, 1.0]) == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2),
        ({"plateau_factor": 0.5}, 7),
        ({"learning_rate": 1e-1, "plateau_floor": 1e-2}, 1),
        ({"learning_rate": 1e-6}, 0),
        ({"learning_rate": 1e-7}, 0),
    ],
)
def test_the_number_of_falls_down_to_the_floor(changes, expected):
    assert falls_to_floor(settings(**changes)) == expected


def test_a_training_ends_when_the_rate_would_fall_below_its_floor():
    chosen = settings(stop_at_floor=True)
    resting_losses = [1.0] * 6
    assert why_ended(chosen, resting_losses) is None
    assert why_ended(chosen, [1.0] * 7) == "the learning rate can fall no more (1e-06)"
    assert why_ended(settings(), [1.0] * 50) is None


def test_a_training_ends_after_so_many_epochs_without_a_better_loss():
    chosen = TrainingSettings(stop_patience=3)
    assert why_ended(chosen, [2.0, 1.0, 1.0, 1.0]) is None
    assert why_ended(chosen, [2.0, 1.0, 1.0, 1.0, 1.0]) == "no better validation loss in 3 epochs"
    assert why_ended(chosen, []) is None
    assert why_ended(TrainingSettings(), [1.0] * 1000) is None


def test_once_losses_rest_the_rate_is_brought_to_zero_and_then_the_training_ends():
    chosen = TrainingSettings(schedule="decay_then_stop", learning_rate=0.01, plateau_patience=2, stop_patience=3)
    losses = [2.0, 1.0, 1.0, 1.5, 0.5, 0.4, 0.3]
    shares = [decayed_to(chosen, losses[:epoch]) for epoch in range(len(losses) + 1)]
    # The fourth epoch is the second one without a better loss; what comes after is no reason to stop the decay.
    assert shares == pytest.approx([1, 1, 1, 1, 0.75, 0.5, 0.25, 0])
    assert learning_rate(chosen, 0.1, losses[:5]) == pytest.approx(0.005)
    ends = [why_ended(chosen, losses[:epoch]) is not None for epoch in range(len(losses) + 1)]
    assert ends == [False] * 7 + [True]
    assert why_ended(chosen, losses) == (
        "no better validation loss in 2 epochs, and the learning rate was brought to zero in 3 more"
    )


def test_a_decay_takes_as_long_as_the_patience_where_nothing_else_is_said():
    chosen = TrainingSettings(schedule="decay_then_stop", plateau_patience=4)
    assert why_ended(chosen, [1.0] * 8) is None
    assert why_ended(chosen, [1.0] * 9) is not None
