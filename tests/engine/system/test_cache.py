import hashlib
import logging
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.system import cache
from engine.system.cache import (
    cache_folder,
    cache_key,
    read_cached,
    writable_folder,
    write_cached,
)

KEY = cache_key("test", "a")
SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    """The folder of the data, which does not exist yet; each test logs its own warnings."""
    base = tmp_path / "new" / "cache"
    monkeypatch.setenv("FLOWNET_ENGINE_CACHE", str(base))
    cache._warned.clear()
    return base / "data"


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "engine"]


@SAME_FOLDER
@given(data=st.binary(max_size=300), parts=st.lists(st.text(), max_size=3))
def test_what_was_written_is_read(data, parts):
    key = cache_key("test", *parts)
    write_cached(key, b"older")
    write_cached(key, data)
    assert read_cached(key) == data


def test_nothing_was_written(folder, caplog):
    assert read_cached(KEY) is None
    assert not folder.exists()
    assert not caplog.records


def test_a_file_is_its_sha256_and_the_data(folder):
    write_cached(KEY, b"data")
    assert [path.name for path in folder.iterdir()] == [KEY]
    assert (folder / KEY).read_bytes() == hashlib.sha256(b"data").digest() + b"data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@given(parts=st.lists(st.text(), min_size=1, max_size=4), other=st.lists(st.text(), max_size=4))
def test_keys_are_file_names_of_their_own(parts, other):
    key = cache_key(*parts)
    assert Path(key).name == key
    assert len(key) < 200
    assert key.isascii()
    assert cache_key("a", *parts) != cache_key("a", *other) or parts == other


def test_keys_keep_their_parts_apart():
    keys = {cache_key(*parts) for parts in (("a", "bc"), ("ab", "c"), ("a", "b", "c"), ("abc",))}
    assert len(keys) == 4
    assert cache_key("open vino/1", "x").startswith("open-vino-1-")


def test_every_truncation_is_noticed_and_removed(folder, caplog):
    write_cached(KEY, b"some data")
    whole = (folder / KEY).read_bytes()
    for length in range(len(whole)):
        (folder / KEY).write_bytes(whole[:length])
        assert read_cached(KEY) is None, length
        assert not (folder / KEY).exists(), length
        assert f"{folder / KEY} is damaged" in warnings(caplog)[-1]
    write_cached(KEY, b"some data")
    assert read_cached(KEY) == b"some data"


def test_every_flipped_byte_is_noticed(folder):
    write_cached(KEY, b"some data")
    whole = (folder / KEY).read_bytes()
    for index in range(len(whole)):
        changed = bytearray(whole)
        changed[index] ^= 1
        (folder / KEY).write_bytes(changed)
        assert read_cached(KEY) is None, index


def _write_often(data: bytes, start) -> None:
    start.wait()
    for _ in range(50):
        write_cached(KEY, data)


def test_two_processes_write_the_same_key_and_a_third_reads_it_whole(folder, caplog):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    contents = [bytes([letter]) * 100_000 for letter in b"ab"]
    writers = [context.Process(target=_write_often, args=(data, start)) for data in contents]
    for writer in writers:
        writer.start()
    start.wait()
    found = set()
    while any(writer.is_alive() for writer in writers):
        found.add(read_cached(KEY))
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert found <= {None, *contents}
    assert read_cached(KEY) in contents
    assert [path.name for path in folder.iterdir()] == [KEY]
    assert not caplog.records


def _file_in_the_way(folder, monkeypatch):
    folder.parent.mkdir(parents=True)
    folder.write_bytes(b"")


def _below_a_file(folder, monkeypatch):
    folder.parent.parent.mkdir()
    folder.parent.write_bytes(b"")


def _full_disk(folder, monkeypatch):
    def write_bytes(path, data):
        with path.open("wb") as file:
            file.write(data[:7])
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


def _read_only(folder, monkeypatch):
    folder.mkdir(parents=True)

    def refuse(path, data):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)


@pytest.mark.parametrize("harm", [_file_in_the_way, _below_a_file, _full_disk, _read_only])
def test_where_nothing_can_be_written_there_is_one_warning(folder, monkeypatch, caplog, harm):
    harm(folder, monkeypatch)
    for _ in range(3):
        write_cached(KEY, b"data")
        write_cached(cache_key("test", "b"), b"data")
        assert read_cached(KEY) is None
    assert not folder.is_dir() or not list(folder.iterdir())
    (message,) = warnings(caplog)
    assert f"the cache {folder.parent} does not work: " in message
    assert "Set FLOWNET_ENGINE_CACHE to a folder that can be written, or to nothing" in message


def test_an_unreadable_file(folder, monkeypatch, caplog):
    write_cached(KEY, b"data")

    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert read_cached(KEY) is read_cached(KEY) is None
    assert len(warnings(caplog)) == 1


def test_a_read_only_folder_is_read_without_a_word(folder, monkeypatch, caplog):
    write_cached(KEY, b"data")

    def refuse(path):
        raise PermissionError(30, "Read-only file system", str(path))

    monkeypatch.setattr(os, "utime", refuse)
    assert read_cached(KEY) == b"data"
    assert not caplog.records


def test_no_cache_at_all(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("FLOWNET_ENGINE_CACHE", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_cached(KEY, b"data")
    assert cache_folder() is read_cached(KEY) is None
    assert not list(tmp_path.iterdir())
    assert not caplog.records


def test_a_home_that_no_shell_has_filled_in(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("FLOWNET_ENGINE_CACHE", "~/kept")
    assert cache_folder() == Path("/home/me/kept")


@pytest.mark.parametrize(
    ("xdg", "expected"),
    [
        ("/var/xdg", "/var/xdg/flownet-engine"),
        ("", "/home/me/.cache/flownet-engine"),
        (None, "/home/me/.cache/flownet-engine"),
        ("relative", "/home/me/.cache/flownet-engine"),  # to be ignored, says the specification
    ],
)
def test_the_default_folder(monkeypatch, xdg, expected):
    monkeypatch.delenv("FLOWNET_ENGINE_CACHE")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if xdg is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert cache_folder() == Path(expected)


def test_a_user_without_a_home(monkeypatch, caplog):
    for name in ("FLOWNET_ENGINE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    write_cached(KEY, b"data")
    assert read_cached(KEY) is None
    (message,) = warnings(caplog)
    assert "there is no home directory" in message


def kept(folder) -> set[bytes]:
    return {path.read_bytes()[32:33] for path in folder.iterdir()}


def written_in_order(monkeypatch, folder, letters: bytes) -> None:
    """Write files of 132 bytes, one per letter, each a second later than the one before."""
    monkeypatch.setattr(cache, "LIMIT", 4 * 132)
    for second, letter in enumerate(letters):
        write_cached(cache_key("test", chr(letter)), bytes([letter]) * 100)
        os.utime(folder / cache_key("test", chr(letter)), (second, second))


def test_the_oldest_make_room(monkeypatch, folder):
    written_in_order(monkeypatch, folder, b"abcd")
    assert kept(folder) == {b"a", b"b", b"c", b"d"}
    write_cached(cache_key("test", "e"), b"e" * 200)
    assert kept(folder) == {b"c", b"d", b"e"}


def test_what_is_read_is_not_old(monkeypatch, folder):
    written_in_order(monkeypatch, folder, b"abcd")
    assert read_cached(cache_key("test", "a")) == b"a" * 100
    write_cached(cache_key("test", "e"), b"e" * 100)
    assert kept(folder) == {b"a", b"c", b"d", b"e"}


def test_more_than_the_whole_cache_may_hold_is_not_kept(monkeypatch, folder):
    written_in_order(monkeypatch, folder, b"abcd")
    write_cached(cache_key("test", "e"), b"e" * 497)
    assert read_cached(cache_key("test", "e")) is None
    assert kept(folder) == {b"a", b"b", b"c", b"d"}
    write_cached(cache_key("test", "e"), b"e" * 496)
    assert kept(folder) == {b"e"}


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
    (message,) = warnings(caplog)
    assert "/openvino is not writable" in message


def test_a_file_that_another_process_removes_meanwhile(monkeypatch, folder, caplog):
    written_in_order(monkeypatch, folder, b"abcd")
    unlink = Path.unlink

    def too_late(path, missing_ok=False):
        unlink(path, missing_ok=True)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", too_late)
    write_cached(cache_key("test", "e"), b"e" * 100)
    assert kept(folder) == {b"b", b"c", b"d", b"e"}
    assert not caplog.records


def test_the_warning_is_logged_as_one(folder, monkeypatch, caplog):
    _below_a_file(folder, monkeypatch)
    write_cached(KEY, b"data")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
