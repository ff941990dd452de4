"""What the cache stores, and a cache that cannot be used."""

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
    write_cached,
)

KEY = cache_key("test", "a")
SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@SAME_FOLDER
@given(data=st.binary(max_size=300), parts=st.lists(st.text(), max_size=3))
def test_reads_what_was_written(data, parts):
    key = cache_key("test", *parts)
    write_cached(key, b"older")
    write_cached(key, data)
    assert read_cached(key) == data


def test_a_key_that_was_never_written(folder, caplog):
    assert read_cached(KEY) is None
    assert not folder.exists()
    assert not caplog.records


def test_a_file_contains_its_sha256_and_the_data(folder):
    write_cached(KEY, b"data")
    assert [path.name for path in folder.iterdir()] == [KEY]
    assert (folder / KEY).read_bytes() == hashlib.sha256(b"data").digest() + b"data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@given(parts=st.lists(st.text(), min_size=1, max_size=4), other=st.lists(st.text(), max_size=4))
def test_keys_are_unique_file_names(parts, other):
    key = cache_key(*parts)
    assert Path(key).name == key
    assert len(key) < 200
    assert key.isascii()
    assert cache_key("a", *parts) != cache_key("a", *other) or parts == other


def test_keys_separate_their_parts():
    keys = {cache_key(*parts) for parts in (("a", "bc"), ("ab", "c"), ("a", "b", "c"), ("abc",))}
    assert len(keys) == 4
    assert cache_key("open vino/1", "x").startswith("open-vino-1-")


def test_every_truncation_and_flipped_byte_is_detected_and_removed(folder, caplog):
    write_cached(KEY, b"some data")
    whole = (folder / KEY).read_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    for index, byte in enumerate(whole):
        damaged.append(whole[:index] + bytes([byte ^ 1]) + whole[index + 1 :])
    for content in damaged:
        (folder / KEY).write_bytes(content)
        assert read_cached(KEY) is None, content
        assert not (folder / KEY).exists(), content
        assert f"{folder / KEY} is damaged" in caplog.messages[-1]
    write_cached(KEY, b"some data")
    assert read_cached(KEY) == b"some data"


def _write_often(data: bytes, start) -> None:
    start.wait()
    for _ in range(50):
        write_cached(KEY, data)


def test_concurrent_writers_and_a_reader(folder, caplog):
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
def test_one_warning_if_nothing_can_be_written(folder, monkeypatch, caplog, harm):
    harm(folder, monkeypatch)
    for _ in range(3):
        write_cached(KEY, b"data")
        write_cached(cache_key("test", "b"), b"data")
        assert read_cached(KEY) is None
    assert not folder.is_dir() or not list(folder.iterdir())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    (message,) = caplog.messages
    assert f"the cache {folder.parent} does not work: " in message
    assert "Set FLOWNET_ENGINE_CACHE to a folder that can be written, or to nothing" in message


def test_an_unreadable_file(folder, monkeypatch, caplog):
    write_cached(KEY, b"data")

    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert read_cached(KEY) is read_cached(KEY) is None
    assert len(caplog.messages) == 1


def test_a_read_only_folder_is_read_without_a_warning(folder, monkeypatch, caplog):
    write_cached(KEY, b"data")

    def refuse(path):
        raise PermissionError(30, "Read-only file system", str(path))

    monkeypatch.setattr(os, "utime", refuse)
    assert read_cached(KEY) == b"data"
    assert not caplog.records


def test_what_was_written_or_read_last_stays(folder, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 200)
    folder.mkdir(parents=True)
    for name, read, written in (("a", 900, 100), ("b", 300, 200), ("c", 100, 800)):
        (folder / name).write_bytes(bytes(90))
        os.utime(folder / name, (read, written))
    assert cache.writable_folder(folder.name) == folder
    assert sorted(path.name for path in folder.iterdir()) == ["a", "c"]


def test_no_cache(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("FLOWNET_ENGINE_CACHE", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_cached(KEY, b"data")
    assert cache_folder() is read_cached(KEY) is None
    assert not list(tmp_path.iterdir())
    assert not caplog.records


def test_a_tilde_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("FLOWNET_ENGINE_CACHE", "~/cache")
    assert cache_folder() == Path("/home/me/cache")


@pytest.mark.parametrize(
    ("xdg", "expected"),
    [
        ("/var/xdg", "/var/xdg/flownet-engine"),
        ("", "/home/me/.cache/flownet-engine"),
        (None, "/home/me/.cache/flownet-engine"),
        ("relative", "/home/me/.cache/flownet-engine"),  # the specification says to ignore it
    ],
)
def test_the_default_folder(monkeypatch, xdg, expected):
    monkeypatch.delenv("FLOWNET_ENGINE_CACHE")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if xdg is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert cache_folder() == Path(expected)


def test_no_home_directory(monkeypatch, caplog):
    for name in ("FLOWNET_ENGINE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    write_cached(KEY, b"data")
    assert read_cached(KEY) is None
    (message,) = caplog.messages
    assert "there is no home directory" in message
