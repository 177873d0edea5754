"""A disk that is full: what is written there says so, and what was there before stays."""

import io
import logging
import os
import subprocess
import tempfile

import numpy as np
import pytest

from autoseg.artefacts import load, save
from autoseg.data.readers import read_labels, write_labels
from autoseg.errors import AutosegError, ImageError, WorkspaceError
from autoseg.interchange.archive import Manifest, Part, write_archive
from autoseg.planning.plan import TrainingSettings
from autoseg.preprocessing.case import prepare
from autoseg.preprocessing.store import is_stored, open_case, save_case
from autoseg.training.checkpoint import load_checkpoint, save_checkpoint, save_weights
from autoseg.training.events import TensorBoardEvents
from autoseg.training.loop import fit
from autoseg.training.observers import FoldFiles, Several
from autoseg.training.state import as_checkpoint
from tests.preprocessing.making import LABELS, configuration, geometry, image, plan
from tests.training.test_events import START
from tests.training.tiny import around, settings, setup, state

KIB = 1024


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MiB; `fill` leaves so many bytes of it."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("this system has no mount")
    if done.returncode:
        pytest.skip("mounting a disk is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk, *, leaving):
    free = os.statvfs(disk)
    size = free.f_bavail * free.f_frsize - leaving
    with (disk / "ballast").open("wb") as file:
        file.write(bytes(max(size, 0)))


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def case(size=40):
    made = plan(configuration())
    classes = np.zeros((size,) * 3, dtype=np.int16)
    classes[4:9, 4:9, 4:9] = 1
    return prepare(image(noise(1, size, size, size)), made, made.configurations["test"], classes=classes)


def test_a_preprocessed_case_that_does_not_fit_is_named_and_not_taken_for_whole(small_disk):
    save_case(small_disk, "a", case(8), labels=LABELS, made_from="x")
    fill(small_disk, leaving=64 * KIB)
    with pytest.raises(WorkspaceError, match=r"b\.image\.npy: cannot be written \(.*MiB free on its disk\)\. Free space"):
        save_case(small_disk, "b", case(), labels=LABELS, made_from="x")
    assert not is_stored(small_disk, "b", made_from="x")
    assert open_case(small_disk, "a").image.shape == (1, 8, 8, 8)
    assert not list(small_disk.glob("**/.writing-*"))


def test_the_history_and_the_last_checkpoint_stay_when_a_training_fills_the_disk(small_disk):
    chosen = settings(epochs=40)
    found = state(chosen)

    class Filling(FoldFiles):
        def epoch_ended(self, history):
            if len(history) == 2:
                fill(small_disk, leaving=1 * KIB)
            super().epoch_ended(history)

    watcher = Filling(small_disk)
    watcher.started(START)
    before = around(observer=watcher, save=lambda at: save_checkpoint(as_checkpoint(at), small_disk))
    with pytest.raises(WorkspaceError, match=r"cannot be written \(No space left on device; 0 MiB free on its disk\)"):
        fit(found, setup(chosen), before)
    assert load_checkpoint(small_disk)["position"]["epoch"] in (1, 2)
    assert len((small_disk / "history.jsonl").read_text().splitlines()) in (1, 2)


def test_events_for_tensorboard_end_with_a_warning_and_the_training_goes_on(small_disk, caplog):
    pytest.importorskip("tensorboard", reason="no TensorBoard")
    chosen = settings(epochs=3)
    events, found = TensorBoardEvents(small_disk), state(chosen)

    class Filling(FoldFiles):
        def epoch_ended(self, history):
            if len(history) == 1:
                fill(small_disk, leaving=0)

    events.started(START)
    with caplog.at_level(logging.WARNING):
        fit(found, setup(chosen), around(observer=Several(Filling(small_disk), events)))
    events.ended()
    assert len(found.history) == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"{small_disk}: no more event files for TensorBoard are written (0.0 MiB free on its disk)"
    ]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_prediction_that_does_not_fit_is_named_and_the_one_before_stays(small_disk, ending):
    path = small_disk / f"case{ending}"
    write_labels(path, np.ones((2, 3, 4), dtype=np.uint8), geometry((2, 3, 4)))
    fill(small_disk, leaving=16 * KIB)
    labels = np.random.default_rng(0).integers(0, 255, size=(60, 60, 60)).astype(np.uint8)
    with pytest.raises(WorkspaceError, match=rf"case\{ending}: cannot be written \(.*MiB free on its disk"):
        write_labels(path, labels, geometry((60, 60, 60)))
    assert read_labels(path)[0].shape == (2, 3, 4)


def test_a_full_disk_for_temporary_files_is_told_apart_from_a_type_that_a_format_cannot_hold(small_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    fill(small_disk, leaving=16 * KIB)
    labels = np.random.default_rng(0).integers(0, 255, size=(60, 60, 60)).astype(np.uint8)
    with pytest.raises(ImageError, match=r"has 0.0 MiB free.*TMPDIR"):
        write_labels(small_disk.parent / "case.nrrd", labels, geometry((60, 60, 60)))


def test_weights_that_do_not_fit_leave_those_before(small_disk):
    weights = dict(state(settings()).network.state_dict())
    path = small_disk / "weights_best.safetensors"
    save_weights(weights, path)
    before = path.read_bytes()
    fill(small_disk, leaving=4 * KIB)
    with pytest.raises(WorkspaceError, match=r"weights_best.safetensors: cannot be written .No space left on device"):
        save_weights(weights, path)
    assert path.read_bytes() == before


def test_an_archive_that_does_not_fit_is_not_there(small_disk):
    fill(small_disk, leaving=16 * KIB)
    parts = [Part("model/weights", io.BytesIO(noise(100_000).tobytes()).getvalue())]
    manifest = Manifest.model_construct(files={part.name: part.described() for part in parts})
    with pytest.raises(WorkspaceError, match=r"one.autoseg: cannot be written .No space left on device"):
        write_archive(small_disk / "one.autoseg", manifest, parts)
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_an_artefact_that_does_not_fit_leaves_the_one_before(small_disk):
    path = small_disk / "settings.json"
    save(TrainingSettings(), path)
    fill(small_disk, leaving=0)
    with pytest.raises(AutosegError, match=r"settings.json: cannot be written"):
        save(TrainingSettings(epochs=2), path)
    assert load(TrainingSettings, path, remake="") == TrainingSettings()
