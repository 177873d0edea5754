import logging
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from autoseg.errors import TrainingError
from autoseg.lock import LOCK_FILE, locked

HOLD = """
import sys, time
from pathlib import Path
from autoseg.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_while_the_first_lives_and_takes_over_when_it_is_dead(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match=rf"^held by process {holder.pid} on "), refused(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    begun = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - begun < 1


def refused(folder):
    return locked(folder, refuse=lambda holder: TrainingError(f"held by {holder}"))


def test_without_a_refusal_the_lock_is_waited_for_and_the_holder_named(tmp_path, caplog):
    script = HOLD.replace("sleep(60)", "sleep(1)")
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with caplog.at_level(logging.INFO), locked(tmp_path):
        assert holder.wait(timeout=10) == 0
    holder.stdout.close()
    assert f"waiting for process {holder.pid} on " in caplog.text


def test_many_threads_never_hold_a_lock_at_the_same_time_though_its_file_comes_and_goes(tmp_path):
    inside, most = [], []

    def work(number):
        for _ in range(15):
            with locked(tmp_path):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(most) == 60
    assert max(most) == 1
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_lock_is_free_again_after_its_block(tmp_path):
    for _ in range(2):
        with locked(tmp_path):
            pass
