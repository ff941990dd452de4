"""Atomic writing to a new path, a file, a link, a pipe and a folder."""

import os
import threading
from pathlib import Path

import pytest

from engine.system.files import write_atomically


def test_no_temporary_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "flow.flo"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["flow.flo"]


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    usual, path = tmp_path / "usual", tmp_path / "path"
    usual.touch()
    write_atomically(path, b"one")
    assert path.stat().st_mode == usual.stat().st_mode
    path.chmod(0o640)
    write_atomically(path, b"two")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    link.symlink_to(target)
    for data in (b"one", b"two"):  # at first the target does not exist
        write_atomically(link, data)
        assert link.is_symlink()
        assert target.read_bytes() == data
    assert os.listdir(target.parent) == ["target"]


def test_cyclic_links(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.symlink_to(two)
    two.symlink_to(one)
    with pytest.raises(OSError, match="one"):
        write_atomically(one, b"data")
    assert one.is_symlink()


def test_a_pipe_is_written_directly(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"data")
    reader.join()
    assert read == [b"data"]
    assert pipe.is_fifo()


def test_a_folder_raises_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        write_atomically(tmp_path, b"data")


def test_a_failure_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "flow.flo"
    write_atomically(path, b"one")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/flow\.flo'"):
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["flow.flo"]
