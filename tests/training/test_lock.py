import subprocess
import sys
import time

import pytest

from autoseg.errors import TrainingError
from autoseg.training.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from autoseg.training.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_while_the_first_lives_and_takes_over_when_it_is_dead(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match=rf"process {holder.pid} on .*--name"), locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    begun = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - begun < 1


def test_a_lock_is_free_again_after_its_block(tmp_path):
    for _ in range(2):
        with locked(tmp_path):
            pass
