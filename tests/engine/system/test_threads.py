"""The number of CPUs of this process: its affinity and both versions of Linux's cgroups."""

import pytest

from engine.system import threads
from engine.system.threads import available_threads

GROUPS = {"root": ".", "a": "a", "b": "a/b"}


@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        ({}, float("inf")),
        ({"b": "max 100000\n"}, float("inf")),
        ({"b": "150000 100000\n"}, 1.5),
        ({"a": "50000 100000\n", "b": "400000 100000\n"}, 0.5),
        ({"root": "200000 100000\n", "b": "max 100000\n"}, 2.0),
    ],
)
def test_version_2_quota(tmp_path, limits, quota):
    root = tmp_path / "cgroup"
    (root / "a" / "b").mkdir(parents=True)
    for name, text in limits.items():
        (root / GROUPS[name] / "cpu.max").write_text(text)
    membership = tmp_path / "membership"
    membership.write_text("9:name=systemd:/x\n0::/a/b\n")
    assert threads._cgroup_quota(root, membership) == quota


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        ({}, float("inf")),
        ({"root": (-1, 100000), "b": (-1, 100000)}, float("inf")),
        ({"b": (150000, 100000)}, 1.5),
        ({"a": (50000, 100000), "b": (800000, 200000)}, 0.5),
        ({"root": (100000, 50000), "b": (-1, 100000)}, 2.0),
    ],
)
def test_version_1_quota(tmp_path, controllers, limits, quota):
    root = tmp_path / "cgroup"
    (root / "cpu" / "a" / "b").mkdir(parents=True)
    for name, (granted, period) in limits.items():
        (root / "cpu" / GROUPS[name] / "cpu.cfs_quota_us").write_text(f"{granted}\n")
        (root / "cpu" / GROUPS[name] / "cpu.cfs_period_us").write_text(f"{period}\n")
    membership = tmp_path / "membership"
    # The hierarchies of another controller, of the CPU, and of version 2, all mounted at once.
    membership.write_text(f"9:cpuset:/elsewhere\n2:{controllers}:/a/b\n0::/a/b\n")
    assert threads._cgroup_quota(root, membership) == quota


def test_version_1_quota_of_a_container_that_reads_the_path_of_its_host(tmp_path):
    tree = tmp_path / "cpu"
    tree.mkdir()
    (tree / "cpu.cfs_quota_us").write_text("250000\n")
    (tree / "cpu.cfs_period_us").write_text("100000\n")
    membership = tmp_path / "membership"
    membership.write_text("4:cpu,cpuacct:/docker/0123abcd\n")
    assert threads._cgroup_quota(tmp_path, membership) == 2.5


def test_no_cgroup(tmp_path):
    assert threads._cgroup_quota(tmp_path, tmp_path / "missing") == float("inf")


@pytest.mark.skipif(not hasattr(threads.os, "sched_getaffinity"), reason="Linux only")
@pytest.mark.parametrize(("quota", "expected"), [(float("inf"), 4), (2.9, 2), (0.3, 1), (16.0, 4)])
def test_affinity_and_quota(monkeypatch, quota, expected):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0, 1, 2, 7})
    monkeypatch.setattr(threads, "_cgroup_quota", lambda *_: quota)
    assert available_threads() == expected


def test_without_affinity(monkeypatch):
    monkeypatch.delattr(threads.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 6)
    assert available_threads() == 6
