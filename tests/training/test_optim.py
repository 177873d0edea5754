import pytest
import torch
from torch import nn

from autoseg.errors import UnknownNameError
from autoseg.planning.plan import TrainingSettings
from autoseg.training.optim import SCHEDULES, Moment, build_optimiser, learning_rate


def test_poly_follows_nnunet_at_the_start_of_each_epoch():
    chosen = TrainingSettings()
    for epoch in (0, 1, 500, 999):
        assert learning_rate(chosen, epoch / 1000) == pytest.approx(0.01 * (1 - epoch / 1000) ** 0.9)
    assert learning_rate(chosen, 1.0) == 0


def test_schedules_half_way_worked_out_by_hand():
    moment = Moment(0.5, TrainingSettings(plateau_patience=1, plateau_factor=0.25), [1.0, 1.0])
    assert {name: schedule(moment) for name, schedule in SCHEDULES.items()} == pytest.approx(
        {"poly": 0.5**0.9, "cosine": 0.5, "plateau": 0.25, "constant": 1.0, "decay_then_stop": 0.5}
    )


def test_warm_up_rises_linearly_and_hands_over_to_the_whole_schedule():
    chosen = TrainingSettings(warmup_share=0.2, schedule="cosine", learning_rate=1.0)
    rates = [learning_rate(chosen, progress) for progress in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.5, 0.0], abs=1e-9)


def test_sgd_is_nesterov_with_momentum_and_decay():
    group = build_optimiser(nn.Linear(1, 1).parameters(), TrainingSettings()).param_groups[0]
    assert (group["nesterov"], group["momentum"], group["weight_decay"], group["lr"]) == (True, 0.99, 3e-5, 0.01)
    plain = build_optimiser(nn.Linear(1, 1).parameters(), TrainingSettings(momentum=0.0)).param_groups[0]
    assert plain["nesterov"] is False


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_and_adamw_can_be_chosen(name, kind):
    assert type(build_optimiser(nn.Linear(1, 1).parameters(), TrainingSettings(optimiser=name))) is kind


def test_frozen_parameters_are_not_optimised():
    layer = nn.Linear(2, 1)
    layer.bias.requires_grad_(False)
    assert build_optimiser(layer.parameters(), TrainingSettings()).param_groups[0]["params"] == [layer.weight]


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'adam'"):
        build_optimiser(nn.Linear(1, 1).parameters(), TrainingSettings(optimiser="adamv"))
    with pytest.raises(UnknownNameError, match=r"unknown schedule 'pole'\. Did you mean 'poly'"):
        learning_rate(TrainingSettings(schedule="pole"), 0.5)
