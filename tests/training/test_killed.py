"""A training that is killed at random moments, for good, again and again: from its first preprocessed case on."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from autoseg.planning.run import plan
from autoseg.training.checkpoint import load_weights
from autoseg.workspace import open_workspace
from tests.training.test_run import write_dataset

KILLS = 20
MOST_EVENTS = 4
"""A process is killed after at most so many events: a case preprocessed, a step, an epoch."""

TRAIN = """
import sys
from autoseg.training.observers import Unwatched
from tests.training.asking import train
from autoseg.workspace import open_workspace
from pathlib import Path

class Events(Unwatched):
    def track(self, items, *, description, total):
        for item in items:
            yield item
            print(description, flush=True)
    def stepped(self, step):
        print("step", step.epoch, step.iteration, flush=True)
    def epoch_ended(self, history):
        print("epoch", len(history), flush=True)

workspace = open_workspace(Path(sys.argv[1]))
settings = ["training.epochs=12", "training.iterations_per_epoch=5", "training.validation_iterations=1",
            "training.precision=fp32", "training.checkpoint_minutes=0.0005", "training.tensorboard=false",
            "3d_fullres.patch_size=8,8,8", sys.argv[2]]
train(workspace.chosen(None), "3d_fullres", folds=["0"], settings=settings, workers=1, device="cpu", threads=1,
      progress=Events(), observer=Events())
print("done", flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts the training of one of two equal workspaces."""
    raw = write_dataset(tmp_path / "Dataset001_Cubes")
    for name in ("unbroken", "killed"):
        found = plan(raw, workspace=open_workspace(tmp_path / name), workers=1)
    stages = len(found.configurations["3d_fullres"].network.strides)
    small = f"3d_fullres.network.features={','.join(['4'] * stages)}"
    command = [sys.executable, "-c", TRAIN]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def begin(name):
        words = [*command, str(tmp_path / name), small]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    return begin


def finish(process):
    out, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors
    assert out.splitlines()[-1] == "done"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_20_random_moments_a_training_ends_with_the_very_weights_of_an_unbroken_one(start, tmp_path):
    finish(start("unbroken"))
    rng = np.random.default_rng(0)
    last = []
    for _ in range(KILLS):
        process = start("killed")
        line = ""
        # Once for certain while cases are preprocessed: a fast machine is soon past that.
        for _ in range(1 if not last else int(rng.integers(1, MOST_EVENTS + 1))):
            line = process.stdout.readline()
        time.sleep(float(rng.uniform(0, 0.05)))
        os.kill(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors
        last.append(line.split()[0])
    assert {"preprocessing", "step"} <= set(last)
    finish(start("killed"))
    first, second = (
        load_weights(next((tmp_path / name).glob("*/models/3d_fullres/fold_0/weights_final.safetensors")), remake="train")
        for name in ("unbroken", "killed")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    # The folder of the model may be shared with folds in other processes: there unfinished files grow old first.
    assert {path.parent.name for path in (tmp_path / "killed").rglob(".writing-*")} <= {"3d_fullres"}
