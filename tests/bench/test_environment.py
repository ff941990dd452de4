"""The facts about a machine and the sources."""

import pytest

from bench import environment
from engine.system.commit import COMMIT


def test_the_commit_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMIT, "1234567")
    assert environment.describe(threads=1)["commit"] == "1234567"
