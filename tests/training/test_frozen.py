from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autoseg.errors import TrainingError
from autoseg.training.frozen import encoder_left, is_of_encoder
from autoseg.training.loop import fit
from autoseg.training.step import take_step
from tests.training.tiny import Discs, around, settings, setup, state


def test_the_encoder_begins_to_learn_after_its_epochs():
    chosen = settings(epochs=3, freeze_encoder_epochs=2, optimiser="adamw", weight_decay=0.1)
    found = state(chosen)
    seen = []

    def remember(state):
        seen.append({name: value.clone() for name, value in state.network.state_dict().items()})

    remember(found)
    fit(found, setup(chosen), around(save=remember))
    moved = [
        {is_of_encoder(name) for name in now if not torch.equal(before[name], now[name])} for before, now in pairwise(seen)
    ]
    assert moved == [{False}, {False}, {False, True}]


def test_names_are_known_under_wrappers():
    names = ["encoder.stages.0.weight", "module.encoder.x", "_orig_mod.encoder.x", "module._orig_mod.encoder.x"]
    assert all(is_of_encoder(name) for name in names)
    assert not is_of_encoder("decoder.encoder.weight")


def test_a_network_without_an_encoder_cannot_leave_it():
    with pytest.raises(TrainingError, match="has no part called 'encoder'"), encoder_left(nn.Linear(1, 1), active=True):
        pass
    with encoder_left(nn.Linear(1, 1), active=False):
        pass


def flops_of_a_step(frozen_epochs):
    chosen = settings(freeze_encoder_epochs=frozen_epochs)
    found = state(chosen)
    with FlopCounterMode(display=False) as counter:
        take_step(found, setup(chosen), Discs().batch(0, 0), warn=pytest.fail)
    return counter.get_total_flops()


def test_the_way_back_through_a_frozen_encoder_is_not_computed():
    assert flops_of_a_step(1) < 0.85 * flops_of_a_step(0)


def test_after_a_step_the_encoder_can_learn_again():
    chosen = settings(freeze_encoder_epochs=1)
    found = state(chosen)
    take_step(found, setup(chosen), Discs().batch(0, 0), warn=pytest.fail)
    assert all(parameter.requires_grad for parameter in found.network.parameters())
