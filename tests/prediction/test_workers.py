"""Cases on several workers: the same result, and nothing lost when a worker is."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from autoseg.data.readers import read_labels
from autoseg.errors import PredictionError
from autoseg.planning.plan import NetworkSpec
from autoseg.prediction.run import predict
from autoseg.prediction.workers import device_name
from tests.prediction import small

NAMES = ("a", "b", "c", "d", "e")


class Slow(small.Brightness):
    """Says which process works on what, and takes its time over it."""

    def forward(self, image: Tensor) -> Tensor:
        folder = Path(os.environ["AUTOSEG_TEST_FOLDER"])
        (folder / f"{os.getpid()}.at_work").touch()
        time.sleep(float(os.environ["AUTOSEG_TEST_SECONDS"]))
        return super().forward(image)


def slow(spec: NetworkSpec, **_: object) -> nn.Module:
    return Slow()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOSEG_TEST_FOLDER", str(tmp_path))
    monkeypatch.setenv("AUTOSEG_TEST_SECONDS", "0.2")
    small.write_small_model(tmp_path / "model", small.plan(kind="tests.prediction.test_workers:slow"))
    for number, name in enumerate(NAMES):
        small.write_nifti(tmp_path / "in" / f"{name}.nii.gz", small.scan(8, 8, 8, seed=number))
    return tmp_path


def run(folder: Path, **settings: Any) -> Any:
    return predict(folder / "in", folder / "out", models=[folder / "model"], precision="fp32", quality="fast", **settings)


def all_are_right(folder: Path) -> None:
    for number, name in enumerate(NAMES):
        voxels = small.scan(8, 8, 8, seed=number)
        found, _ = read_labels(folder / "out" / f"{name}.nii.gz")
        np.testing.assert_array_equal(found, np.where(voxels > 2, 9, np.where(voxels > 1, 4, 0)))


def workers_at_work(folder: Path) -> set[int]:
    return {int(file.stem) for file in folder.glob("*.at_work")} - {os.getpid()}


def kill_first_worker(folder: Path) -> threading.Thread:
    def kill() -> None:
        while not workers_at_work(folder):
            time.sleep(0.01)
        os.kill(min(workers_at_work(folder)), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.mark.slow
def test_the_cases_of_a_killed_worker_are_done_again(folder: Path) -> None:
    killer = kill_first_worker(folder)
    report = run(folder, devices=["cpu", "cpu"])
    killer.join()
    assert [(case.id, case.error) for case in report.cases] == [(name, None) for name in NAMES]
    assert len(workers_at_work(folder)) == 3  # two, and the one that took the place of the killed one
    all_are_right(folder)


@pytest.mark.slow
def test_a_failing_case_on_a_worker_is_reported_and_does_not_stop_the_others(folder: Path) -> None:
    small.write_nifti(folder / "in" / "a.nii.gz", np.stack([small.scan(8, 8, 8)] * 2))
    report = run(folder, executor="processes", devices=["cpu"])
    assert [case.id for case in report.failed] == ["a"]
    assert len(workers_at_work(folder)) == 1


def test_devices_are_named_by_number_or_as_torch_does() -> None:
    assert [device_name(text) for text in ("0", "1", "cpu", "cuda:2")] == ["cuda:0", "cuda:1", "cpu", "cuda:2"]


def test_without_dask_or_its_scheduler_the_message_says_what_to_do(folder: Path) -> None:
    with pytest.raises(PredictionError, match=r"pip install|no Dask scheduler answers at tcp://localhost:1 "):
        run(folder, executor="dask://localhost:1")


@pytest.mark.parametrize("address", ["dask://", "dask://localhost", "dask://localhost:here"])
def test_an_address_without_a_port_is_refused(folder: Path, address: str) -> None:
    pytest.importorskip("distributed", reason="Dask is an extra: pip install autoseg[cluster]")
    with pytest.raises(PredictionError, match=rf"--executor {address}: expected dask://HOST:PORT"):
        run(folder, executor=address)


def test_a_scheduler_that_does_not_answer_leaves_no_traceback(folder: Path) -> None:
    pytest.importorskip("distributed", reason="Dask is an extra: pip install autoseg[cluster]")
    code = (
        "from autoseg.prediction.workers import _connected\n"
        "try:\n    _connected('dask://localhost:1')\n"
        "except Exception as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "no Dask scheduler answers" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_a_dask_cluster_predicts_and_survives_the_loss_of_a_worker(folder: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is an extra: pip install autoseg[cluster]")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        killer = kill_first_worker(folder)
        report = run(folder, executor=cluster.scheduler_address.replace("tcp://", "dask://"))
        killer.join()
    assert [(case.id, case.error) for case in report.cases] == [(name, None) for name in NAMES]
    all_are_right(folder)
