"""Too little memory on the device: the same training in parts, then with activations computed again."""

import pytest
import torch

from autoseg.errors import TrainingError
from autoseg.training.checkpoint import load_checkpoint, save_checkpoint
from autoseg.training.loop import fit
from autoseg.training.observers import Unwatched
from autoseg.training.state import as_checkpoint, restore
from autoseg.training.step import take_step
from autoseg.training.thrift import Thrift, is_out_of_memory, recomputing, with_memory_left
from tests.training import hungry
from tests.training.tiny import NETWORK, Discs, around, settings, setup, state

HUNGRY = NETWORK.model_copy(update={"kind": "tests.training.hungry:unet"})
PLENTY = 1 << 40


def gradients(thrift, *, samples=5, network=NETWORK):
    """The gradients of a first step, and the buffers after it."""
    chosen = settings()
    found = state(chosen, network=network)
    found.thrift = thrift
    loss = take_step(found, setup(chosen), Discs(size=samples).batch(0, 0), warn=pytest.fail)
    return loss, [parameter.grad for parameter in found.network.parameters()], list(found.network.buffers())


def test_a_batch_in_parts_has_the_loss_and_gradient_of_the_whole_batch_batch_dice_included():
    loss, whole, _ = gradients(Thrift())
    for size in (3, 2, 1):
        loss_in_parts, parts, _ = gradients(Thrift(micro_batch=size))
        assert loss_in_parts == pytest.approx(loss, abs=1e-6)
        for first, second in zip(whole, parts, strict=True):
            assert (first is None) == (second is None)
            if first is not None and second is not None:
                torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_activations_computed_again_change_no_bit_of_gradients_and_statistics(norm, micro_batch):
    network = NETWORK.model_copy(update={"norm": norm, "dropout": 0.2})
    first, second = (
        gradients(Thrift(micro_batch=micro_batch, recompute=recompute), network=network) for recompute in (False, True)
    )
    assert first[0] == second[0]
    for one, other in zip((*first[1], *first[2]), (*second[1], *second[2]), strict=True):
        assert one is other is None or torch.equal(one, other)


def test_dropout_draws_the_same_in_both_passes_of_a_part():
    network = NETWORK.model_copy(update={"dropout": 0.5})
    first, second = (gradients(Thrift(micro_batch=1), network=network)[1] for _ in range(2))
    assert all(one is other is None or torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_memory_is_saved_by_halves_and_then_by_computing_again():
    tried, thrift = [], Thrift()
    while thrift is not None:
        tried.append((thrift.sizes(5), thrift.recompute))
        thrift = thrift.less(5)
    assert tried == [([5], False), ([3, 2], False), ([2, 2, 1], False), ([1] * 5, False), ([1] * 5, True)]


def test_stages_are_as_before_once_recomputing_is_over():
    network = state(settings()).network
    before = [module.forward for module in network.modules()]
    with recomputing(network, active=True):
        changed = sum("forward" in vars(module) for module in network.modules())
    assert changed >= 5  # encoder and decoder stages, up-convolutions, heads
    assert [module.forward for module in network.modules()] == before


class Warnings(Unwatched):
    def __init__(self):
        self.messages = []

    def warned(self, message):
        self.messages.append(message)


@pytest.fixture
def room():
    """Sets how many bytes of activations fit."""
    yield lambda count: hungry.room.update(bytes=count)
    hungry.room["bytes"] = 0


def kept_bytes(room, thrift):
    """The least room that suffices for a batch of four with that thrift, by bisection."""
    low, high = 0, 1 << 24
    while high - low > 1024:
        middle = (low + high) // 2
        room(middle)
        found = state(settings(), network=HUNGRY)
        found.thrift = thrift
        try:
            take_step(found, setup(settings()), Discs(size=4).batch(0, 0), warn=_refuse)
            high = middle
        except (RefusedError, TrainingError):
            low = middle
    return high


class RefusedError(Exception):
    pass


def _refuse(message):
    raise RefusedError


def test_a_device_that_runs_out_of_memory_trains_on_in_parts_then_computing_again_and_the_history_says_so(room, tmp_path):
    chosen = settings(epochs=2)
    ways = [Thrift(), Thrift(2), Thrift(1), Thrift(1, recompute=True)]
    needed = [kept_bytes(room, thrift) for thrift in ways]
    assert needed == sorted(needed, reverse=True)
    room(PLENTY)
    plenty = state(chosen, network=HUNGRY)
    fit(plenty, setup(chosen, training=Discs(0, size=4), validation=Discs(1, size=4)), around())
    for thrift, count in list(zip(ways, needed, strict=True))[1:]:
        room(count)
        found, seen = state(chosen, network=HUNGRY), Warnings()
        scarce = setup(chosen, training=Discs(0, size=4), validation=Discs(1, size=4))
        fit(found, scarce, around(observer=seen, save=lambda at: save_checkpoint(as_checkpoint(at), tmp_path)))
        assert found.thrift == thrift
        assert [(row.micro_batch, row.recomputed) for row in found.history] == [(thrift.micro_batch, thrift.recompute)] * 2
        assert all("out of memory on the device (CUDA out of memory." in message for message in seen.messages)
        assert seen.messages[-1].endswith(f"going on with {thrift}; the batch stays 4")
        assert found.history[-1].train_loss == pytest.approx(plenty.history[-1].train_loss, abs=1e-3)
        resumed = state(chosen, network=HUNGRY)
        restore(resumed, load_checkpoint(tmp_path))
        assert resumed.thrift == thrift


def test_a_device_on_which_nothing_fits_is_reported_with_the_ways_out(room):
    room(1000)
    with pytest.raises(TrainingError, match=r"too little memory even for one sample.*--device.*--gpu-memory"):
        fit(state(settings(), network=HUNGRY), setup(settings()), around())


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken(thrift):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        with_memory_left(broken, Thrift(), samples=lambda: 2, warn=pytest.fail)
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."))
