"""The training command under torchrun, as a user starts it, on the processor."""

import os
import signal
import subprocess
import sys
import time

import pytest

from autoseg.planning.run import plan
from autoseg.training.checkpoint import CURRENT, load_checkpoint, load_weights
from autoseg.workspace import open_workspace
from tests.training.test_run import write_dataset

pytestmark = pytest.mark.slow

LENGTH = ("--epochs", "2", "--iterations", "3")
SETTINGS = ("training.validation_iterations=1", "training.precision=fp32", "training.momentum=0.9")


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    root = tmp_path_factory.mktemp("torchrun")
    workspace = open_workspace(root / "workspace")
    found = plan(write_dataset(root / "Dataset001_Cubes"), workspace=workspace, workers=1)
    return workspace.dataset(found.dataset)


def command(planned, *options, size=1, name="model", length=LENGTH, device=("--device", "cpu")):
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(size), "-m"] if size > 1 else []
    words = ["3d_fullres", "-w", str(planned.path.parent), "-d", planned.path.name, "-f", "0", "--name", name]
    return [
        *(sys.executable, "-m", *launcher, "autoseg.cli.train", *words, *device, "--threads", "1"),
        *length,
        *(word for setting in SETTINGS for word in ("--set", setting)),
        *options,
    ]


def start(planned, *options, **changes):
    return subprocess.Popen(
        command(planned, *options, **changes), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )


def finished(process, code=0):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors
    return output, errors


def weights(planned, name):
    return load_weights(planned.models / name / "fold_0" / "weights_final.safetensors", remake="train")


def largest_difference(first, second):
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_two_processes_train_the_model_of_one(planned):
    finished(start(planned, name="one"))
    output, errors = finished(start(planned, size=2, name="two"))
    assert output.count("fold 0: 6 steps") == 1
    assert output.count("2 processes share each batch") == 1
    assert errors.count("epoch 1: 3 steps") == 1
    assert largest_difference(weights(planned, "one"), weights(planned, "two")) < 1e-3
    assert not list((planned.models / "two" / "fold_0").glob("checkpoint*"))


def test_more_processes_than_samples_are_refused(planned):
    _, errors = finished(start(planned, "--set", "3d_fullres.batch_size=2", size=3, name="many"), code=1)
    assert errors.count("error: 3 processes for a batch of 2") == 1
    assert "fault of autoseg" not in errors


def wait_for(path, process):
    for _ in range(1200):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError(f"{path} has not been written")


def test_terminated_processes_leave_a_checkpoint_that_one_process_goes_on_from(planned):
    length = ("--epochs", "6", "--iterations", "3")
    finished(start(planned, name="unbroken", length=length))
    process = start(planned, size=2, name="broken", length=length)
    folder = planned.models / "broken" / "fold_0"
    wait_for(folder / CURRENT, process)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert time.monotonic() - asked < 25, "torchrun kills what has not ended after 30 s"
    assert process.returncode != 0
    assert "interrupted: the checkpoint is written" in errors
    assert 1 <= load_checkpoint(folder)["position"]["epoch"] < 6
    finished(start(planned, name="broken", length=length))
    assert largest_difference(weights(planned, "unbroken"), weights(planned, "broken")) < 2e-3


def children_of(process):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True)
    return [int(number) for number in found.stdout.split()]


@pytest.mark.skipif(not os.path.exists("/bin/ps"), reason="ps is not installed")  # noqa: PTH110
def test_a_lost_process_ends_the_run_with_its_checkpoint_whole(planned):
    process = start(planned, size=2, name="lost", length=("--epochs", "500", "--iterations", "3"))
    folder = planned.models / "lost" / "fold_0"
    wait_for(folder / CURRENT, process)
    os.kill(max(children_of(process)), signal.SIGKILL)
    _, errors = finished(process, code=1)
    assert "Signal 9" in errors
    assert load_checkpoint(folder)["position"]["epoch"] >= 1
