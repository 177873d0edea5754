"""Real processes on this machine's processor that train one network together."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from autoseg.errors import TrainingError
from autoseg.training.distributed import ALONE, Ranks, joined
from tests.training.together import VARIANTS, results


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_together(module, *arguments, size=2):
    """`size` processes as torchrun would start them."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


@pytest.fixture(scope="module")
def alone_and_together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    processes = start_together("tests.training.together", folder)
    alone = results()
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    return alone, [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def differences(first, second):
    assert first.keys() == second.keys()
    return [float((first[name].double() - second[name].double()).abs().max()) for name in first]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_give_the_gradient_of_one_with_the_whole_batch(alone_and_together, variant):
    alone, together = alone_and_together
    for rank in together:
        assert max(differences(alone[variant]["one_step"], rank[variant]["one_step"])) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_after_a_training_two_processes_hold_the_weights_of_one(alone_and_together, variant):
    alone, together = alone_and_together
    for rank in together:
        assert max(differences(alone[variant]["weights"], rank[variant]["weights"])) < 2e-4
    first, second = (rank[variant]["weights"] for rank in together)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_pseudo_dice_are_those_of_the_whole_batch(alone_and_together, variant):
    alone, together = alone_and_together
    for rank in together:
        assert len(rank[variant]["history"]) == 3
        for expected, found in zip(alone[variant]["history"], rank[variant]["history"], strict=True):
            assert found[:2] == pytest.approx(expected[:2], abs=1e-4)
            assert found[2] == pytest.approx(expected[2], abs=5e-3)


@pytest.mark.slow
def test_where_one_device_has_too_little_memory_all_processes_make_do_with_less(alone_and_together):
    alone, together = alone_and_together
    assert alone["scarce"]["micro_batch"] == [None] * 3
    assert [rank["scarce"]["micro_batch"] for rank in together] == [[1] * 3] * 2


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_shares_make_up_the_batch_and_differ_by_one_at_most(size):
    shares = [Ranks(rank=rank, size=size).share(5) for rank in range(size)]
    assert [index for share in shares for index in share] == [0, 1, 2, 3, 4]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_more_processes_than_samples_are_refused_with_the_way_out():
    with pytest.raises(TrainingError, match="3 processes for a batch of 2") as refusal:
        Ranks(rank=0, size=3).share(2)
    assert "--nproc-per-node" in str(refusal.value)
    assert "batch_size=3" in str(refusal.value)


def test_one_process_exchanges_nothing():
    values = torch.ones(2, requires_grad=True)
    assert ALONE.summed(values) is values
    assert ALONE.pooled(values) is values
    assert ALONE.agreed(0.1) == 0.1
    assert ALONE.any(True)
    with joined({}) as ranks:
        assert ranks == ALONE
    with joined({"RANK": "0", "WORLD_SIZE": "1"}) as ranks:
        assert ranks == ALONE


def test_each_process_takes_its_own_device_and_its_share_of_the_cores():
    second = Ranks(rank=3, size=4, local_rank=1, local_size=2)
    assert (ALONE.own_device("cuda:1"), ALONE.own_device("auto")) == ("cuda:1", "auto")
    assert (second.own_device("cuda"), second.own_device("cpu")) == ("cuda:1", "cpu")
    with pytest.raises(TrainingError, match="2 processes would share it"):
        second.own_device("cuda:0")
    assert (ALONE.own_threads(None), ALONE.own_threads(3), second.own_threads(3)) == (None, 3, 3)
    assert second.own_threads(None) >= 1
