import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoseg.errors import DatasetError
from autoseg.parallel import (
    CaseFailedError,
    WorkerKilledError,
    map_cases,
)


def square(number: int) -> int:
    return number * number


def refuse_three(number: int) -> int:
    if number == 3:
        raise DatasetError("case 3: three is refused")
    return number


def divide_by_it(number: int) -> float:
    return 1 / number


def die_at_the_first_try(item: tuple[str, int]) -> int:
    folder, number = item
    marker = Path(folder) / str(number)
    if number == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_at_one(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def thread_limit(_: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def case_name(item: object) -> str:
    return f"case_{item}"


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    assert map_cases(square, [3, 1, 2], name=case_name, stage="squaring", workers=workers) == [9, 1, 4]


def test_no_items_give_no_results():
    assert map_cases(square, [], name=case_name, stage="squaring") == []


def test_an_executor_that_is_passed_in_does_the_work():
    with ThreadPoolExecutor(2) as executor:
        found = map_cases(square, range(20), name=case_name, stage="squaring", executor=executor)
    assert found == [number**2 for number in range(20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_user_arrives_as_it_is(workers):
    with pytest.raises(DatasetError, match="three is refused"):
        map_cases(refuse_three, [2, 3, 4], name=case_name, stage="checking", workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fault_names_stage_and_case_and_keeps_the_traceback(workers):
    with pytest.raises(CaseFailedError, match="dividing: case case_0 failed") as caught:
        map_cases(divide_by_it, [1, 0], name=case_name, stage="dividing", workers=workers)
    assert "in divide_by_it" in str(caught.value)
    assert "ZeroDivisionError" in str(caught.value)


def test_a_case_whose_worker_was_killed_is_tried_again_alone(tmp_path):
    items = [(str(tmp_path), number) for number in range(4)]
    assert map_cases(die_at_the_first_try, items, name=case_name, stage="reading", workers=2) == [0, 1, 2, 3]


def test_a_case_that_kills_its_worker_twice_is_named_with_what_to_do():
    with pytest.raises(WorkerKilledError, match=r"reading: .*case_1 was killed twice.*out of memory"):
        map_cases(die_at_one, [0, 1, 2], name=case_name, stage="reading", workers=2)


def test_workers_use_one_thread_each():
    assert map_cases(thread_limit, [0, 1], name=case_name, stage="looking", workers=2) == ["1", "1"]


def test_a_script_needs_no_guard_although_workers_are_fresh_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from autoseg.parallel import map_cases\n"
        "print('begun')\n"
        "print(map_cases(len, ['a', 'bb', 'ccc'], name=str, stage='count', workers=2))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "begun\n[1, 2, 3]\n"), done.stderr
