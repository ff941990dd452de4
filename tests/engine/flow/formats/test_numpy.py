"""The .npy and .npz files of read_flow and write_flow."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine.errors import FlowFileError
from engine.flow.formats import read_flow, read_flow_size, write_flow


def file_with(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def sample() -> np.ndarray:
    return np.random.default_rng(5).normal(0, 30, (3, 4, 2)).astype(np.float32)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def test_numpy_itself_reads_what_is_written(tmp_path):
    mask = np.eye(3, 4, dtype=bool)
    write_flow(tmp_path / "a.npy", sample())
    write_flow(tmp_path / "a.npz", sample(), mask)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), sample())
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["valid"], mask)
        np.testing.assert_array_equal(archive["flow"][mask], sample()[mask])


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_npy_of_any_float_and_order(tmp_path, dtype):
    array = np.asfortranarray(np.arange(24).reshape(3, 4, 2).astype(dtype))
    flow, _ = read_flow(file_with(tmp_path, "a.npy", npy(array)))
    assert flow.dtype == np.float32
    np.testing.assert_array_equal(flow, array)


def test_npz_of_viper(tmp_path):
    """Two planes of half floats, infinite where the flow is unknown."""
    u, v = np.moveaxis(sample().astype(np.float16), -1, 0).copy()
    u[1, 2] = np.inf
    path = file_with(tmp_path, "a.npz", npz(u=npy(u), v=npy(v)))
    flow, valid = read_flow(path)
    assert read_flow_size(path) == (3, 4)
    assert np.argwhere(~valid).tolist() == [[1, 2]]
    np.testing.assert_array_equal(flow[valid], np.dstack([u, v])[valid])


def test_npz_without_a_mask(tmp_path):
    flow, valid = read_flow(file_with(tmp_path, "a.npz", npz(flow=npy(sample()))))
    np.testing.assert_array_equal(flow, sample())
    assert valid.all()


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((2, 3, 4), np.float32), r"contains float32 \(2, 3, 4\), expected float"),
        (np.zeros((4, 3, 2), np.int16), r"contains int16"),
        (np.zeros((4, 3, 2), bool), r"contains bool"),
        (np.zeros((0, 3, 2), np.float32), r"contains float32 \(0, 3, 2\)"),
        (np.array(1.0), r"contains float64 \(\)"),
    ],
)
def test_npy_of_something_else_is_refused(tmp_path, array, text):
    with pytest.raises(FlowFileError, match=text):
        read_flow(file_with(tmp_path, "a.npy", npy(array)))


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_npy_never_unpickles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in (npy(np.array([Trap()], object)), pickle.dumps(Trap())):
        with pytest.raises(FlowFileError):
            read_flow(file_with(tmp_path, "a.npy", content))
    assert not (tmp_path / "sprung").exists()


def test_npy_with_an_absurd_size_is_refused_by_its_length(tmp_path):
    for shape in ((10**9, 10**9, 2), (10**30, 1, 2)):
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        with pytest.raises(FlowFileError, match=r"a\.npy: has 10+x10* pixels in its header"):
            read_flow(file_with(tmp_path, "a.npy", stream.getvalue() + bytes(8)))


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"uv": npy(sample())}, r"contains \['uv\.npy'\], expected 'flow'"),
        ({"flow": npy(sample()), "valid": npy(np.ones((2, 2), bool))}, r"has valid bool \(2, 2\)"),
        ({"flow": npy(sample()), "valid": npy(np.ones((3, 4)))}, "has valid float64"),
        ({"flow": b"?"}, "no readable numpy header"),
        ({"u": npy(np.ones((3, 4)))}, r"expected 'flow' and optionally 'valid', or 'u' and 'v'"),
        (
            {"u": npy(sample()), "v": npy(sample())},
            r"contains float32 \(3, 4, 2\), expected float \(H",
        ),
        ({"u": npy(np.ones((3, 4))), "v": npy(np.ones((3, 5)))}, r"has u \(3, 4\) and v \(3, 5\)"),
    ],
)
def test_npz_members_that_are_refused(tmp_path, members, text):
    with pytest.raises(FlowFileError, match=text):
        read_flow(file_with(tmp_path, "a.npz", npz(**members)))


def test_compressions_of_other_programs_are_refused_before_they_are_undone(tmp_path):
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
            archive.writestr("flow.npy", bytes(1 << 20))
        with pytest.raises(FlowFileError, match="expected it stored or deflated"):
            read_flow(tmp_path / "a.npz")


def test_headers_that_promise_too_much(tmp_path):
    """Of a header, of arrays, and of a size that is True."""
    long = b"\x93NUMPY\2\0" + struct.pack("<I", 1 << 30)
    with pytest.raises(FlowFileError, match="numpy header of 1073741824 bytes; expected at most"):
        read_flow(file_with(tmp_path, "a.npy", long))
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2, 2), }".ljust(117) + b"\n"
    content = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(16)
    with pytest.raises(FlowFileError, match=r"contains float32 \(True, 2, 2\), expected float"):
        read_flow(file_with(tmp_path, "a.npy", content))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for index in range(2000):
            archive.writestr(f"{index}.npy", b"")
    with pytest.raises(FlowFileError, match="too many arrays"):
        read_flow(tmp_path / "a.npz")


@pytest.mark.parametrize("length", [0, 1, 2, 60])
def test_a_header_longer_than_it_says(tmp_path, length):
    write_flow(tmp_path / "a.npy", np.ones((3, 4, 2), np.float32))
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[8:10] = struct.pack("<H", length)
    with pytest.raises(FlowFileError):
        read_flow(file_with(tmp_path, "b.npy", bytes(content)))
