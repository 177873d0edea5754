"""A training that is killed at random moments, for good, again and again."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from autoseg.training.checkpoint import load_weights

TRAIN = """
import sys
from pathlib import Path
from autoseg.training.checkpoint import load_checkpoint, save_checkpoint, save_weights
from autoseg.training.loop import fit
from autoseg.training.state import as_checkpoint, restore
from tests.training.tiny import around, settings, setup, state
folder = Path(sys.argv[1])
chosen = settings(epochs=25)
found = state(chosen)
stored = load_checkpoint(folder)
if stored:
    restore(found, stored)
print("begun", flush=True)
fit(found, setup(chosen), around(save=lambda at: save_checkpoint(as_checkpoint(at), folder)))
save_weights(found.weights, folder / "weights.safetensors")
"""


def start(folder):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", TRAIN, str(folder)], stdout=subprocess.PIPE, text=True)


def finish(process):
    assert process.wait(timeout=120) == 0
    process.stdout.close()


@pytest.mark.slow
def test_killed_at_random_moments_a_training_ends_with_the_very_weights_of_an_unbroken_one(tmp_path):
    finish(start(tmp_path / "unbroken"))
    rng = np.random.default_rng(0)
    for _ in range(6):
        process = start(tmp_path / "killed")
        process.stdout.readline()
        time.sleep(float(rng.uniform(0.05, 0.6)))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    finish(start(tmp_path / "killed"))
    first, second = (
        load_weights(tmp_path / name / "weights.safetensors", remake="train") for name in ("unbroken", "killed")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
