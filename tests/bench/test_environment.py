"""The facts about a machine and the sources."""

import pytest

from bench import environment


def test_the_commit_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.COMMIT, "1234567")
    assert environment.describe(threads=1)["commit"] == "1234567"


def test_sources_without_a_repository_have_no_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.delenv(environment.COMMIT, raising=False)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.describe(threads=1)["commit"] is None
