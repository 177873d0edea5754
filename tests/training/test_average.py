import pytest
import torch
from torch import nn

from autoseg.training.average import WeightAverage


def layer(value):
    built = nn.BatchNorm1d(1)
    nn.init.constant_(built.weight, value)
    return built


def test_the_average_of_three_steps_worked_out_by_hand():
    network = layer(0.0)
    average = WeightAverage(network, decay=0.25)
    for value, expected in ((1.0, 1 - 2 / 11), (2.0, None), (2.0, None)):
        nn.init.constant_(network.weight, value)
        before = float(average.tensors["weight"])
        average.update(network)
        keep = min(0.25, (1 + average.steps) / (10 + average.steps))
        assert float(average.tensors["weight"]) == pytest.approx(keep * before + (1 - keep) * value)
        assert expected is None or float(average.tensors["weight"]) == pytest.approx(expected)


def test_counters_are_copied_not_averaged():
    network = layer(1.0)
    average = WeightAverage(network, decay=0.9)
    network(torch.zeros(4, 1))
    average.update(network)
    assert int(average.tensors["num_batches_tracked"]) == 1


def test_the_network_has_its_own_weights_back_even_after_an_error():
    network = layer(3.0)
    average = WeightAverage(network, decay=0.9)
    nn.init.constant_(network.weight, 5.0)

    def use():
        with average.in_place_of(network):
            assert float(network.weight.detach()) == 3.0
            raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        use()
    assert float(network.weight.detach()) == 5.0
