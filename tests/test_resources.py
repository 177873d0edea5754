import os
import subprocess
import sys

import pytest

from autoseg.resources import ControlGroups, available_cores, free_memory, sensible_workers

MIB = 1 << 20


def groups(tmp_path, files, *, own="0::/\n"):
    """Control groups as files: the text of each by its path below the mount."""
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "own").write_text(own)
    return ControlGroups(root=tmp_path / "cgroup", own=tmp_path / "own")


def test_workers_are_as_many_as_cores_when_cases_are_small():
    assert sensible_workers(1) == available_cores()


def test_one_worker_is_left_when_a_case_fills_the_memory():
    assert sensible_workers(10 * free_memory() + 1) == 1


def test_the_limit_of_a_container_counts_less_what_it_uses(tmp_path):
    found = groups(tmp_path, {"memory.max": f"{512 * MIB}\n", "memory.current": f"{500 * MIB}\n"})
    assert found.memory_left() == 12 * MIB
    assert free_memory(found) == 12 * MIB


def test_the_limit_of_an_older_container_counts_too(tmp_path):
    files = {
        "memory/memory.limit_in_bytes": str(300 * MIB),
        "memory/memory.usage_in_bytes": str(250 * MIB),
        "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {200 * MIB}\n",
    }
    assert groups(tmp_path, files).memory_left() == 250 * MIB


def test_files_that_the_kernel_keeps_in_memory_are_free(tmp_path):
    files = {
        "memory.max": str(512 * MIB),
        "memory.current": str(500 * MIB),
        "memory.stat": f"anon {100 * MIB}\nfile {400 * MIB}\ninactive_file {390 * MIB}\nactive_file {10 * MIB}\n",
    }
    assert groups(tmp_path, files).memory_left() == 402 * MIB


@pytest.mark.parametrize(
    "files", [{}, {"memory.max": "max\n", "memory.current": "1\n"}, {"memory.max": "5"}, {"cpu.max": "max 100000"}]
)
def test_without_a_limit_the_machine_counts(files, tmp_path):
    found = groups(tmp_path, files)
    assert found.memory_left() is None
    assert found.cores() is None
    assert free_memory(found) > 64 * MIB
    assert available_cores(found) == available_cores()


@pytest.mark.parametrize(
    ("own", "folder"),
    [
        ("0::/system.slice/job_7/step_0\n", "system.slice"),
        ("3:cpu,cpuacct:/slurm\n4:memory:/slurm/job_7\n", "memory/slurm/job_7"),
    ],
)
def test_the_limit_of_a_cluster_job_counts_which_lies_in_a_group_of_its_own(own, folder, tmp_path):
    version2 = {f"{folder}/memory.max": str(64 * MIB), f"{folder}/memory.current": "0"}
    version1 = {f"{folder}/memory.limit_in_bytes": str(64 * MIB), f"{folder}/memory.usage_in_bytes": "0"}
    found = groups(tmp_path, version1 if folder.startswith("memory") else version2, own=own)
    assert found.memory_left() == 64 * MIB


def test_the_tightest_limit_of_all_groups_above_counts(tmp_path):
    files = {
        "a/memory.max": str(50 * MIB), "a/memory.current": str(10 * MIB),
        "a/b/memory.max": str(90 * MIB), "a/b/memory.current": str(10 * MIB),
    }  # fmt: skip
    assert groups(tmp_path, files, own="0::/a/b\n").memory_left() == 40 * MIB


def test_a_group_that_uses_more_than_it_may_leaves_nothing(tmp_path):
    found = groups(tmp_path, {"memory.max": "100", "memory.current": "200"})
    assert free_memory(found) == 0


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_a_quota_of_processor_time_is_a_number_of_cores(files, cores, tmp_path):
    assert groups(tmp_path, files).cores() == cores


def test_half_a_core_is_one(tmp_path):
    assert available_cores(groups(tmp_path, {"cpu.max": "50000 100000"})) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be taken away from a process here")
def test_cores_taken_away_from_a_process_do_not_count():
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}}); from autoseg.resources import *; print(available_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"
