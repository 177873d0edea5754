import logging
import resource
import signal

import pytest
import torch

from autoseg.errors import ArtefactError, WorkspaceError
from autoseg.training.checkpoint import (
    CURRENT,
    PREVIOUS,
    load_checkpoint,
    load_weights,
    remove_checkpoints,
    save_checkpoint,
    save_weights,
)
from autoseg.training.state import CHECKPOINT_FORMAT


def checkpoint(number):
    return {
        "format": CHECKPOINT_FORMAT,
        "number": number,
        "tensor": torch.full((3,), float(number)),
        "rows": [{"a": (0.5, None)}],
    }


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_last_two_checkpoints_are_kept(tmp_path):
    for number in (1, 2, 3):
        save_checkpoint(checkpoint(number), tmp_path)
    assert load_checkpoint(tmp_path)["number"] == 3
    assert torch.load(tmp_path / PREVIOUS, weights_only=True)["number"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([CURRENT, PREVIOUS])


def test_a_folder_without_checkpoints_has_none(tmp_path):
    assert load_checkpoint(tmp_path) is None


def test_values_come_back_as_they_were(tmp_path):
    save_checkpoint(checkpoint(4), tmp_path)
    found = load_checkpoint(tmp_path)
    assert found["rows"] == [{"a": (0.5, None)}]
    assert torch.equal(found["tensor"], torch.full((3,), 4.0))


def test_a_truncated_checkpoint_falls_back_to_the_one_before_with_a_warning(tmp_path, caplog):
    for number in (1, 2):
        save_checkpoint(checkpoint(number), tmp_path)
    truncate(tmp_path / CURRENT)
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(tmp_path)["number"] == 1
    assert "falling back" in caplog.text


def test_killed_between_the_renames_the_previous_one_is_found(tmp_path):
    for number in (1, 2):
        save_checkpoint(checkpoint(number), tmp_path)
    (tmp_path / CURRENT).unlink()
    assert load_checkpoint(tmp_path)["number"] == 1


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_two_damaged_checkpoints_are_an_error_with_a_remedy(tmp_path, content):
    for name in (CURRENT, PREVIOUS):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtefactError, match=r"truncated or damaged.*--restart"):
        load_checkpoint(tmp_path)


def test_a_file_that_would_run_code_is_not_loaded(tmp_path):
    torch.save({"format": CHECKPOINT_FORMAT, "code": print}, tmp_path / CURRENT)
    with pytest.raises(ArtefactError, match="truncated or damaged"):
        load_checkpoint(tmp_path)


def test_a_full_disk_leaves_the_last_checkpoint_intact(tmp_path):
    save_checkpoint(checkpoint(1), tmp_path)
    large = checkpoint(2) | {"ballast": torch.zeros(100_000)}
    limits, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(
            WorkspaceError, match=r"cannot be written \(.*MiB free on its disk\)\. The last checkpoint is intact"
        ):
            save_checkpoint(large, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert load_checkpoint(tmp_path)["number"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [CURRENT]


def test_a_finished_fold_keeps_no_checkpoints(tmp_path):
    save_checkpoint(checkpoint(1), tmp_path)
    remove_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_weights_come_back_and_truncated_ones_name_file_and_remedy(tmp_path):
    weights = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor(3)}
    path = tmp_path / "weights_final.safetensors"
    save_weights(weights, path)
    found = load_weights(path, remake="train")
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    truncate(path)
    with pytest.raises(ArtefactError, match=r"weights_final.safetensors: truncated or damaged.*Make it anew with: train"):
        load_weights(path, remake="train")
    path.unlink()
    with pytest.raises(ArtefactError, match="not found"):
        load_weights(path, remake="train")
