"""Where a bundle may be put, and what is left of builds that did not finish."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from engine.system.folders import locked
from export import staging as staging_module
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
    assert_one_line(capsys, "holds 'tiny.safetensors', which is not part of what is written there")
    assert weights.exists()


def test_leftovers_of_killed_builds_are_removed(tmp_path: Path) -> None:
    left = tmp_path / ".a.b.0123abcd.building"
    running = tmp_path / ".a.b.89abcdef.building"
    # Other outputs', a and a.b.c.
    others = [
        tmp_path / f".{name}.0123abcd.{what}"
        for name in ("a", "a.b.c")
        for what in ("building", "old")
    ]
    for folder in (left, running, *others):
        folder.mkdir()
        (folder / "model.onnx").touch()
    with locked(running):
        check_output(tmp_path / "a.b")
        assert sorted(tmp_path.iterdir()) == sorted([running, *others])
    check_output(tmp_path / "a.b")
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_a_name_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    output = tmp_path / ("b" * 255)
    for content in (b"1", b"2"):
        with staging(output) as folder:
            (folder / "model.onnx").write_bytes(content)
            move_into_place(folder, output)
    assert [path.read_bytes() for path in tmp_path.rglob("model.onnx")] == [b"2"]


@pytest.fixture(params=["exchanged", "renamed twice"])
def kind_of_replacement(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Systems with and without the exchange of two folders."""
    if request.param == "renamed twice":
        monkeypatch.setattr(staging_module, "exchange", lambda first, second: False)
    return str(request.param)


def test_a_bundle_that_was_being_replaced_is_not_lost(tmp_path: Path) -> None:
    """Its process was killed between the two renames, where there is no exchange."""
    old, output = tmp_path / ".bundle.0123abcd.old", tmp_path / "bundle"
    old.mkdir()
    (old / "manifest.json").touch()
    with staging(output):
        assert [path.name for path in output.iterdir()] == ["manifest.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("kind_of_replacement")
def test_an_older_bundle_is_replaced_and_keeps_the_permissions_of_its_folder(
    tmp_path: Path,
) -> None:
    output = tmp_path / "bundle"
    output.mkdir(mode=0o750)
    (output / "model.plan").touch()
    with staging(output) as folder:
        (folder / "model.onnx").touch()
        move_into_place(folder, output)
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "model.onnx"]
    assert output.stat().st_mode & 0o777 == 0o750


@pytest.mark.usefixtures("kind_of_replacement")
def test_files_that_came_during_the_build_are_not_deleted(tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    with staging(output) as folder:
        output.mkdir()
        (output / "notes.txt").touch()
        with pytest.raises(FileExistsError, match=r"holds 'notes\.txt'"):
            move_into_place(folder, output)
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "notes.txt"]


def test_a_mount_point_is_refused_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path)
    with pytest.raises(OSError, match="is a mount point, which cannot be renamed; choose a folder"):
        check_output(tmp_path)


def test_an_old_bundle_comes_back_when_the_new_one_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "bundle"
    output.mkdir()
    (output / "model.onnx").touch()

    def busy(self: Path, target: Path) -> Path:
        if self.name.endswith(".building"):
            raise OSError(errno.EBUSY, "Device or resource busy", str(self))
        os.rename(self, target)
        return target

    monkeypatch.setattr(staging_module, "exchange", lambda first, second: False)
    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(OSError, match="busy"), staging(output) as folder:
        move_into_place(folder, output)
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "model.onnx"]
