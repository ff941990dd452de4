"""The number of CPU threads that this process may use."""

import contextlib
import os
from pathlib import Path


def available_threads() -> int:
    """Return the number of CPUs in this process's affinity, limited by its cgroup's CPU quota.

    The runtimes count all CPUs of the machine instead, which oversubscribes a container.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    quota = _cgroup_quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    # Round down: the kernel suspends a process above its quota for the rest of each period.
    return max(1, int(min(len(os.sched_getaffinity(0)), quota)))


def _cgroup_quota(root: Path, membership: Path) -> float:
    """Return the CPUs granted by a process's cgroup and its ancestors; infinite without a limit.

    Version 2 has one hierarchy, version 1 has one per controller, and both may be mounted.
    https://docs.kernel.org/admin-guide/cgroup-v2.html, .../scheduler/sched-bwc.html

    Args:
        root: mount point of the hierarchies.
        membership: ``/proc/PID/cgroup``.
    """
    quota = float("inf")
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return quota
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            tree, limit = root, _cpu_max
        elif "cpu" in controllers.split(","):
            tree, limit = root / "cpu", _cfs_quota
        else:
            continue
        group = tree / path.lstrip("/")
        # In a container the path may be the host's; then the limit is at the mount point itself.
        for folder in (group, *group.parents):
            if folder.is_relative_to(tree):
                # What is emulated in a container may be of another form.
                with contextlib.suppress(OSError, ValueError, ArithmeticError):
                    quota = min(quota, limit(folder))
    return quota


def _cpu_max(group: Path) -> float:
    """Read the limit of a version 2 cgroup."""
    limits = group / "cpu.max"
    if not limits.is_file():
        return float("inf")
    granted, period = limits.read_text().split()
    return float("inf") if granted == "max" else int(granted) / int(period)


def _cfs_quota(group: Path) -> float:
    """Read the limit of a version 1 cgroup."""
    limits = [group / name for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    if not all(limit.is_file() for limit in limits):
        return float("inf")
    granted, period = (int(limit.read_text()) for limit in limits)
    return granted / period if granted > 0 else float("inf")
