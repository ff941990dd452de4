"""How many CPUs this process may use: affinity, and both versions of Linux's control groups."""

import pytest

from engine.backends import registry as backends
from engine.backends.registry import available_threads

GROUPS = {"root": ".", "a": "a", "b": "a/b"}


def cgroup(tmp_path, **limits):
    """Write ``cpu.max`` files; return the folder and the membership file of group /a/b."""
    root = tmp_path / "cgroup"
    (root / "a" / "b").mkdir(parents=True)
    for name, text in limits.items():
        (root / GROUPS[name] / "cpu.max").write_text(text)
    membership = tmp_path / "membership"
    membership.write_text("9:name=systemd:/x\n0::/a/b\n")
    return root, membership


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
def test_cgroup_quota(tmp_path, limits, quota):
    assert backends._cgroup_quota(*cgroup(tmp_path, **limits)) == quota


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
def test_cgroup_1_quota(tmp_path, controllers, limits, quota):
    root = tmp_path / "cgroup"
    (root / "cpu" / "a" / "b").mkdir(parents=True)
    for name, (granted, period) in limits.items():
        (root / "cpu" / GROUPS[name] / "cpu.cfs_quota_us").write_text(f"{granted}\n")
        (root / "cpu" / GROUPS[name] / "cpu.cfs_period_us").write_text(f"{period}\n")
    membership = tmp_path / "membership"
    # A tree of another resource, the tree of the CPU, and version 2's, as where both are mounted.
    membership.write_text(f"9:cpuset:/elsewhere\n2:{controllers}:/a/b\n0::/a/b\n")
    assert backends._cgroup_quota(root, membership) == quota


def test_cgroup_1_of_a_container_that_sees_the_path_on_its_host(tmp_path):
    tree = tmp_path / "cpu"
    tree.mkdir()
    (tree / "cpu.cfs_quota_us").write_text("250000\n")
    (tree / "cpu.cfs_period_us").write_text("100000\n")
    membership = tmp_path / "membership"
    membership.write_text("4:cpu,cpuacct:/docker/0123abcd\n")
    assert backends._cgroup_quota(tmp_path, membership) == 2.5


def test_no_cgroup(tmp_path):
    assert backends._cgroup_quota(tmp_path, tmp_path / "missing") == float("inf")


@pytest.mark.skipif(not hasattr(backends.os, "sched_getaffinity"), reason="Linux only")
@pytest.mark.parametrize(("quota", "threads"), [(float("inf"), 4), (2.9, 2), (0.3, 1), (16.0, 4)])
def test_available_threads(monkeypatch, quota, threads):
    monkeypatch.setattr(backends.os, "sched_getaffinity", lambda _: {0, 1, 2, 7})
    monkeypatch.setattr(backends, "_cgroup_quota", lambda *_: quota)
    assert available_threads() == threads


def test_available_threads_elsewhere(monkeypatch):
    monkeypatch.delattr(backends.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(backends.os, "cpu_count", lambda: 6)
    assert available_threads() == 6
