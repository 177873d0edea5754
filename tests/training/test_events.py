import importlib.util

import numpy as np
import pytest
import torch

from autoseg.training.events import TensorBoardEvents, panels
from autoseg.training.example import Example, example_of
from autoseg.training.loop import fit
from autoseg.training.observers import Start
from tests.training.tiny import LABELS, around, settings, setup, state

START = Start(
    configuration="2d",
    fold="0",
    device="cpu",
    precision="fp32",
    parameters=1,
    training_cases=4,
    validation_cases=1,
    epochs=2,
    budget_s=None,
    first_epoch=0,
    output_names=("disc", "core"),
)


def read_back(folder):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no TensorBoard")
    found = events.EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def watched(folder, *, epochs, first_epoch=0):
    chosen = settings(epochs=epochs)
    events, found = TensorBoardEvents(folder), state(chosen)
    events.started(START)
    fit(found, setup(chosen), around(observer=events))
    events.ended()
    return found.history


def test_what_tensorboard_reads_back_is_what_the_history_says(tmp_path):
    history = watched(tmp_path, epochs=2)
    found = read_back(tmp_path)
    wanted = {
        "loss/training": [row.train_loss for row in history],
        "loss/validation": [row.validation_loss for row in history],
        "learning_rate": [row.learning_rate for row in history],
        "dice_validation/disc": [row.pseudo_dice[0] for row in history],
        "dice_validation/core": [row.pseudo_dice[1] for row in history],
        "dice_training/disc": [row.train_dice[0] for row in history],
    }
    for name, values in wanted.items():
        events = [(event.step, event.value) for event in found.Scalars(name)]
        assert events == [
            (epoch, pytest.approx(value, rel=1e-5)) for epoch, value in enumerate(values) if value is not None
        ], name
    (tag,) = found.Tags()["images"]
    assert [(image.height, image.width) for image in found.Images(tag)] == [(16, 48)] * 2


def test_without_tensorboard_nothing_is_written_and_it_is_said_why(tmp_path, monkeypatch, caplog):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else there(name))
    with caplog.at_level("INFO", logger="autoseg"):
        watched(tmp_path / "events", epochs=1)
    assert not (tmp_path / "events").exists()
    assert "TensorBoard is not installed" in caplog.text


def test_an_example_is_the_slice_with_the_most_foreground_and_what_is_found_there():
    target = torch.zeros(2, 3, 4, 4, dtype=torch.int64)
    target[0, 1, :2] = 2
    target[0, 2, 0, 0] = 1
    image = torch.arange(2 * 3 * 16, dtype=torch.float32).view(2, 1, 3, 4, 4)
    logits = torch.zeros(2, 3, 3, 4, 4)
    logits[:, 1, :, 3] = 5
    found = example_of(image, logits, target, labels=LABELS)
    assert np.array_equal(found.target, target[0, 1])
    assert np.array_equal(found.found[3], [1, 1, 1, 1])
    assert found.found[:3].max() == 0
    assert (found.image.min(), found.image.max()) == (0, 1)


def test_the_panels_are_grey_but_for_the_classes():
    example = Example(
        image=np.full((2, 2), 0.4, np.float32), target=np.array([[1, 0], [0, 0]]), found=np.array([[0, 0], [0, 9]])
    )
    picture = panels(example)
    assert picture.shape == (2, 6, 3)
    coloured = (picture.max(axis=-1) != picture.min(axis=-1)).tolist()
    assert coloured == [[False, False, True, False, False, False], [False, False, False, False, False, True]]
