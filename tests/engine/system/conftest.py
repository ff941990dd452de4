"""The cache folder of a test."""

from pathlib import Path

import pytest

from engine.system import cache


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    """The folder of the data, which does not exist yet; each test logs its own warnings."""
    base = tmp_path / "new" / "cache"
    monkeypatch.setenv(cache.VARIABLE, str(base))
    cache._warned.clear()
    return base / "data"
