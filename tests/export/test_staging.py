"""Where a bundle may be put, and what is left of builds that did not finish."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from export.staging import check_output, move_into_place, staging
from tests.export.tiny import assert_one_line, build


@pytest.mark.parametrize("below", [".", "bundle", "folder/bundle"])
def test_an_output_that_is_a_file_or_below_one_is_refused(
    weights: Path, below: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(weights, weights / below) == 2
    assert_one_line(capsys, "tiny.safetensors is a file; expected a folder")


def test_an_output_that_cannot_be_written_is_refused(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def mkdir(path: Path, **_kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert build(weights, tmp_path / "bundle") == 2
    assert_one_line(capsys, "cannot write .*bundle: Permission denied. Choose another folder")


def test_a_folder_with_other_files_is_not_replaced(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(weights, weights.parent) == 2
    assert_one_line(capsys, "holds 'tiny.safetensors', which is not part of a bundle")
    assert weights.exists()


WHATS = ("building", "old")


def test_leftovers_of_killed_builds_are_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    left = [tmp_path / f".a.b.{number}.building" for number in (process.pid, os.getpid())]
    kept = [
        tmp_path / f".a.b.{os.getppid()}.building",
        # Other outputs', a and a.b.c.
        *(tmp_path / f".{name}.{process.pid}.{what}" for name in ("a", "a.b.c") for what in WHATS),
    ]
    for folder in (*left, *kept):
        folder.mkdir()
        (folder / "model.onnx").touch()
    check_output(tmp_path / "a.b")
    assert sorted(tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_bundle_that_was_being_replaced_is_not_lost(tmp_path: Path, replaced: bool) -> None:
    """Its process was killed before, or just after, the new one got its place."""
    old, output = tmp_path / f".bundle.{os.getpid()}.old", tmp_path / "bundle"
    old.mkdir()
    (old / "first").touch()
    if replaced:
        output.mkdir()
        (output / "second").touch()
    with staging(output) as folder:
        assert [path.name for path in output.iterdir()] == ["second" if replaced else "first"]
        (folder / "third").touch()
        move_into_place(folder, output)
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "third"]


def test_an_old_bundle_comes_back_when_the_new_one_cannot_be_moved(tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    output.mkdir()
    (output / "old").touch()
    with pytest.raises(FileNotFoundError), staging(output) as folder:
        move_into_place(folder / "missing", output)
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "old"]
