"""The size limit of the cache."""

import os
import stat
from pathlib import Path

from engine.system import cache
from engine.system.cache import cache_key, read_cached, writable_folder, write_cached

KEY = cache_key("test", "a")


def stored(folder) -> set[bytes]:
    return {path.read_bytes()[32:33] for path in folder.iterdir()}


def written_in_order(monkeypatch, folder, letters: bytes) -> None:
    """Write files of 132 bytes, one per letter, each a second later than the one before."""
    monkeypatch.setattr(cache, "LIMIT", 4 * 132)
    for second, letter in enumerate(letters):
        write_cached(cache_key("test", chr(letter)), bytes([letter]) * 100)
        os.utime(folder / cache_key("test", chr(letter)), (second, second))


def test_the_oldest_files_are_removed(monkeypatch, folder):
    written_in_order(monkeypatch, folder, b"abcd")
    assert stored(folder) == {b"a", b"b", b"c", b"d"}
    write_cached(cache_key("test", "e"), b"e" * 200)
    assert stored(folder) == {b"c", b"d", b"e"}


def test_reading_counts_as_use(monkeypatch, folder):
    written_in_order(monkeypatch, folder, b"abcd")
    assert read_cached(cache_key("test", "a")) == b"a" * 100
    write_cached(cache_key("test", "e"), b"e" * 100)
    assert stored(folder) == {b"a", b"c", b"d", b"e"}


def test_data_above_the_limit_are_not_stored(monkeypatch, folder):
    written_in_order(monkeypatch, folder, b"abcd")
    write_cached(cache_key("test", "e"), b"e" * 497)
    assert read_cached(cache_key("test", "e")) is None
    assert stored(folder) == {b"a", b"b", b"c", b"d"}
    write_cached(cache_key("test", "e"), b"e" * 496)
    assert stored(folder) == {b"e"}


def test_links_and_folders_are_neither_counted_nor_removed(monkeypatch, folder, tmp_path):
    (tmp_path / "thesis.tex").write_bytes(b"t" * 5000)
    folder.mkdir(parents=True)
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(tmp_path / "thesis.tex")
    left = folder / f".{KEY}.0123abcd"  # the temporary file of a process that was killed
    left.write_bytes(b"x" * 132)
    os.utime(left, (0, 0))
    written_in_order(monkeypatch, folder, b"abcde")
    names = {path.name for path in folder.iterdir()}
    assert names == {"folder", "link", *(cache_key("test", letter) for letter in "bcde")}
    assert (tmp_path / "thesis.tex").stat().st_size == 5000


def test_a_subfolder_is_created_and_limited(monkeypatch, folder):
    openvino = writable_folder("openvino")
    assert openvino == folder.parent / "openvino"
    assert stat.S_IMODE(openvino.stat().st_mode) == 0o700
    monkeypatch.setattr(cache, "LIMIT", 10)
    for second, name in enumerate("abc"):
        (openvino / name).write_bytes(b"12345")
        os.utime(openvino / name, (second, second))
    assert writable_folder("openvino") == openvino
    assert sorted(path.name for path in openvino.iterdir()) == ["b", "c"]


def test_a_subfolder_that_is_not_writable(monkeypatch, folder, caplog):
    assert writable_folder("openvino") is not None
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # for root, every folder is
    assert writable_folder("openvino") is writable_folder("openvino") is None
    (message,) = caplog.messages
    assert "/openvino is not writable" in message


def test_another_process_removes_a_file_meanwhile(monkeypatch, folder, caplog):
    written_in_order(monkeypatch, folder, b"abcd")
    unlink = Path.unlink

    def too_late(path, missing_ok=False):
        unlink(path, missing_ok=True)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", too_late)
    write_cached(cache_key("test", "e"), b"e" * 100)
    assert stored(folder) == {b"b", b"c", b"d", b"e"}
    assert not caplog.records
