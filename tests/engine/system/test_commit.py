"""The commit of the sources, in repositories made here."""

import subprocess
from pathlib import Path

import pytest

from engine.system import commit
from engine.system.commit import COMMIT, project_commit


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the module in a checkout that does not track it."""
    monkeypatch.delenv(COMMIT, raising=False)
    module = tmp_path / ".venv" / "engine" / "system" / "commit.py"
    module.parent.mkdir(parents=True)
    module.touch()
    (tmp_path / "theirs").touch()
    author = ("-c", "user.name=x", "-c", "user.email=x@x")
    for command in (["init"], ["add", "theirs"], [*author, "commit", "-m", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr(commit, "__file__", str(module))
    return module


def head(folder: Path) -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_commit_of_another_project_is_not_ours(module: Path) -> None:
    """As where the package is installed inside somebody's checkout, which does not track it."""
    assert project_commit() is None
    subprocess.run(["git", "add", "-f", str(module)], cwd=module.parent, check=True)
    assert project_commit() == f"{head(module.parent).strip()}-dirty"


def test_the_commit_may_be_given(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMIT, "1234567")
    assert project_commit() == "1234567"


def test_without_git_there_is_none(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(module.parent))
    assert project_commit() is None
