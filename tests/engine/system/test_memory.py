"""Available memory, from files as Linux writes them."""

from pathlib import Path

import pytest

from engine.system import memory


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    return tmp_path


def test_unknown_without_the_files(files: Path) -> None:
    assert memory.available_bytes() is None


def test_the_machine_or_its_control_group(files: Path) -> None:
    (files / "meminfo").write_text("MemTotal:  100 kB\nMemAvailable:   50 kB\n")
    assert memory.available_bytes() == 50 * 1024
    (files / "memory.current").write_text("1000\n")
    (files / "memory.max").write_text("max\n")
    assert memory.available_bytes() == 50 * 1024
    (files / "memory.max").write_text("3000\n")
    assert memory.available_bytes() == 2000


def test_files_that_the_kernel_can_drop_are_available(files: Path) -> None:
    (files / "meminfo").write_text("MemAvailable:   50 kB\n")
    (files / "memory.max").write_text("3000\n")
    (files / "memory.current").write_text("2990\n")
    (files / "memory.stat").write_text("anon 400\ninactive_file 2500\nactive_file 90\n")
    assert memory.available_bytes() == 2510
