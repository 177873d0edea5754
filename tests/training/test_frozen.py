from itertools import pairwise

import pytest
import torch
from torch import nn

from autoseg.errors import TrainingError
from autoseg.training.frozen import is_of_encoder, leave_encoder
from autoseg.training.loop import fit
from tests.training.tiny import around, settings, setup, state


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
    with pytest.raises(TrainingError, match="has no part called 'encoder'"):
        leave_encoder(nn.Linear(1, 1))
