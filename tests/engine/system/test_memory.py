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
