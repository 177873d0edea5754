"""The first five losses of a training, in single precision on one thread.

After a change that is meant to alter them: `AUTOSEG_REMAKE_GOLDEN=1 pytest tests/training/test_golden_curve.py`.
"""

import json
import os
from pathlib import Path

import pytest
import torch

from autoseg.training.loop import fit
from autoseg.training.observers import Unwatched
from tests.training.tiny import around, settings, setup, state

GOLDEN = Path(__file__).parents[1] / "golden" / "loss_curve.json"


class Losses(Unwatched):
    def __init__(self):
        self.losses = []

    def stepped(self, step):
        self.losses.append(step.loss)


def test_the_first_five_losses_are_the_golden_ones():
    chosen, seen = settings(epochs=1, iterations_per_epoch=5), Losses()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fit(state(chosen), setup(chosen), around(observer=seen))
    finally:
        torch.set_num_threads(threads)
    if os.environ.get("AUTOSEG_REMAKE_GOLDEN"):
        GOLDEN.write_text(json.dumps({"losses": seen.losses}, indent=1) + "\n")
    assert seen.losses == pytest.approx(json.loads(GOLDEN.read_text())["losses"], rel=1e-4)
