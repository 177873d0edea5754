"""What of the machine this process may use: cores and memory, limits of containers and of jobs included."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEMORY_SHARE = 0.7
"""Share of the free memory that workers may fill."""


def sensible_workers(bytes_per_case: int) -> int:
    """How many cases may be worked on at a time: one per core, as far as 70 % of the free memory reaches; at least 1.

    Limits of a container count as well as those of the machine.
    """
    return max(1, min(available_cores(), int(MEMORY_SHARE * free_memory()) // max(bytes_per_case, 1)))


@dataclass(frozen=True)
class ControlGroups:
    """The kernel's control groups, by which containers and cluster jobs are given a part of a machine.

    `root` is where they are mounted, `own` says to which this process belongs; a limit of any group above it counts.
    Both versions are read. Source: Linux, Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
    """

    root: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")

    def memory_left(self) -> int | None:
        """Bytes that the tightest limit leaves; None where there is no limit.

        File contents that the kernel keeps in memory are counted as free: it gives them up when it has to.
        """
        found = [
            allowed - max(taken - kept, 0)
            for group in self._groups("memory")
            for limit, used, reclaimable in (
                ("memory.max", "memory.current", "inactive_file"),
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            )
            if (allowed := _number(group / limit)) is not None and (taken := _number(group / used)) is not None
            for kept in [_entry(group / "memory.stat", reclaimable)]
        ]
        return min(found, default=None)

    def cores(self) -> float | None:
        """Cores that the tightest quota gives, 1.5 for one and a half; None where there is none."""
        found = []
        for group in self._groups("cpu"):
            quota = _words(group / "cpu.max")  # "150000 100000" or "max 100000"
            if not quota:
                quota = [*_words(group / "cpu.cfs_quota_us"), *_words(group / "cpu.cfs_period_us")]
            if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit() and int(quota[1]):
                found.append(int(quota[0]) / int(quota[1]))
        return min(found, default=None)

    def _groups(self, controller: str) -> Iterator[Path]:
        """The folders of this process's groups and of all above them, as one version or the other mounts them."""
        paths = {"", *(path for names, path in self._memberships() if not names or controller in names)}
        for mounted in (self.root, self.root / controller):
            for path in sorted(paths):
                group = mounted / path.strip("/")
                yield group
                yield from (above for above in group.parents if above.is_relative_to(mounted))

    def _memberships(self) -> Iterator[tuple[list[str], str]]:
        for line in _lines(self.own):  # "0::/user.slice" (version 2) or "4:memory:/slurm/job_1"
            _, _, rest = line.partition(":")
            names, _, path = rest.partition(":")
            if path and ".." not in path:
                yield [name for name in names.split(",") if name], path


def available_cores(groups: ControlGroups = ControlGroups()) -> int:
    """Cores this process may use: its affinity and a container's quota, at least 1."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = groups.cores()
    return max(1, own if quota is None else min(own, int(quota)))


def free_memory(groups: ControlGroups = ControlGroups()) -> int:
    """Bytes that can be had without swapping: the machine's, or what a container's limit leaves."""
    left = [_machine_memory(), _allowed_memory()]
    limited = groups.memory_left()
    return max(min(left if limited is None else [*left, limited]), 0)


def _allowed_memory() -> int:
    """Bytes that limits of this process (`ulimit -v`, `ulimit -d`) leave."""
    try:
        import resource
    except ImportError:  # not on Windows
        return sys.maxsize
    left = [sys.maxsize]
    for limit, used in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
        most, _ = resource.getrlimit(limit)
        taken = [line.split()[1] for line in _lines(Path("/proc/self/status")) if line.startswith(used)]
        if most != resource.RLIM_INFINITY and taken:
            left.append(most - int(taken[0]) * 1024)
    return min(left)


def _machine_memory() -> int:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 4 << 30


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _number(file: Path) -> int | None:
    words = _words(file)  # "max" stands for no limit
    return int(words[0]) if words and words[0].isdigit() else None


def _entry(file: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in _lines(file) if line.startswith(f"{name} ")), 0)
