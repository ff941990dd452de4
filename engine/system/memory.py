"""How much memory this process may still use."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Return the memory that can be allocated without swapping, on Linux; None elsewhere.

    The smaller of what the machine has and of what the process's control group (of version 2, as in
    a container) leaves. Files that the kernel keeps in memory and can drop count as available.
    """
    try:
        lines = _MEMINFO.read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        available = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no limit ("max"), or no such control group
        return max(0, available)
    return max(0, min(available, limit - used + _droppable_bytes()))


def _droppable_bytes() -> int:
    """Return how much of the control group's memory are files that nobody has read lately."""
    try:
        lines = (_CGROUP / "memory.stat").read_text().splitlines()
        return int(dict(line.split(" ", 1) for line in lines)["inactive_file"])
    except (OSError, KeyError, ValueError):
        return 0
