"""Spring's .flo5: what h5py writes, and files that HDF5 allows but Spring does not."""

import builtins
import io
from pathlib import Path

import h5py
import numpy as np
import pytest

from engine.errors import BackendNotInstalledError, FlowFileError
from engine.flow.formats import check_flow_format, read_flow, read_flow_size, write_flow


def sample(height: int = 3, width: int = 4) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 30, (height, width, 2)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "shuffle": True}])
def test_files_of_h5py_are_read(tmp_path: Path, dtype: str, options: dict[str, object]) -> None:
    flow = sample().astype(dtype)
    flow[1, 2, 0] = np.nan
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        file.create_dataset("flow", data=flow, **options)
    read, valid = read_flow(tmp_path / "a.flo5")
    expected = flow.astype(np.float32)
    expected[1, 2] = np.nan
    np.testing.assert_array_equal(read, expected)
    assert np.argwhere(~valid).tolist() == [[1, 2]]
    assert read_flow_size(tmp_path / "a.flo5") == (3, 4)


def test_h5py_reads_what_is_written(tmp_path: Path) -> None:
    write_flow(tmp_path / "a.flo5", sample())
    with h5py.File(tmp_path / "a.flo5") as file:
        assert list(file) == ["flow"]
        assert file["flow"].compression == "gzip"
        np.testing.assert_array_equal(file["flow"][()], sample())


def _group(file: h5py.File, _: Path) -> None:
    file.create_group("flow")


def _external_link(file: h5py.File, folder: Path) -> None:
    file["flow"] = h5py.ExternalLink(str(folder / "secret.h5"), "/flow")


def _soft_link(file: h5py.File, _: Path) -> None:
    file["other"] = sample()
    file["flow"] = h5py.SoftLink("/other")


def _external_storage(file: h5py.File, folder: Path) -> None:
    file.create_dataset("flow", (3, 4, 2), "f4", external=[(str(folder / "secret.h5"), 0, 96)])


def _virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((3, 4, 2), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "flow", (3, 4, 2))
    file.create_virtual_dataset("flow", layout)


@pytest.mark.parametrize("write", [_group, _external_link, _soft_link, _external_storage, _virtual])
def test_only_vectors_in_the_file_itself_are_read(tmp_path: Path, write) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["flow"] = sample()
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        write(file, tmp_path)
    with pytest.raises(FlowFileError, match="a 'flow' that is a group or refers to another file"):
        read_flow(tmp_path / "a.flo5")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((3, 4), np.float32), r"contains float32 \(3, 4\), expected float \(H, W, 2\)"),
        (np.zeros((2, 3, 4), np.float32), r"contains float32 \(2, 3, 4\)"),
        (np.zeros((3, 4, 2), np.int32), r"contains int32 \(3, 4, 2\)"),
        (np.zeros((0, 4, 2), np.float32), r"contains float32 \(0, 4, 2\)"),
        (np.float32(0), r"contains float32 \(\)"),
        (h5py.Empty("f"), r"contains float32 None"),
        ("text", r"contains object \(\)"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, value: object, message: str) -> None:
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        file["flow"] = value
    for read in (read_flow, read_flow_size):
        with pytest.raises(FlowFileError, match=message):
            read(tmp_path / "a.flo5")


def test_another_dataset_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        file["disparity"] = np.zeros((3, 4))
    with pytest.raises(FlowFileError, match=r"contains \['disparity'\], expected a dataset 'flow'"):
        read_flow(tmp_path / "a.flo5")


@pytest.mark.parametrize("options", [{}, {"chunks": (64, 64, 2), "compression": "gzip"}])
def test_a_size_without_data_is_refused(tmp_path: Path, options: dict[str, object]) -> None:
    """HDF5 would fill 200 MB with zeros."""
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        file.create_dataset("flow", (5000, 5000, 2), "f4", **options)
    with pytest.raises(FlowFileError, match=r"stores 0 bytes for a flow of 200000000; .*trunc"):
        read_flow(tmp_path / "a.flo5")


def test_other_filters_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        file.create_dataset("flow", data=sample(), compression="lzf")
    with pytest.raises(FlowFileError, match="HDF5 filter 32000; expected gzip, shuffle, fletcher"):
        read_flow(tmp_path / "a.flo5")


def test_a_flow_that_compresses_well_is_read(tmp_path: Path) -> None:
    flow = np.zeros((512, 1024, 2), np.float32)
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("flow", data=flow, compression="gzip", compression_opts=9)
    (tmp_path / "a.flo5").write_bytes(stream.getvalue())
    assert not read_flow(tmp_path / "a.flo5")[0].any()


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_flow(tmp_path / "a.flo5", sample())
    import_module = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == "h5py":
            raise ImportError("No module named 'h5py'")
        return import_module(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for call in (
        lambda: read_flow(tmp_path / "a.flo5"),
        lambda: write_flow(tmp_path / "b.flo5", sample()),
        lambda: check_flow_format(tmp_path / "b.flo5"),
    ):
        with pytest.raises(BackendNotInstalledError, match=r"pip install 'flownet-engine\[spring"):
            call()
    assert not (tmp_path / "b.flo5").exists()


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_files_of_other_versions_of_hdf5(tmp_path: Path, version: str) -> None:
    with h5py.File(tmp_path / "a.flo5", "w", libver=version) as file:
        file.create_dataset("flow", data=sample())
    np.testing.assert_array_equal(read_flow(tmp_path / "a.flo5")[0], sample())


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (16, 16, "list of free blocks has no end"),  # of the free block: the next one is itself
        (16, 1 << 40, "list of free blocks has no end"),  # outside
        (-24, 1 << 40, "a heap is truncated"),  # of the header: size of the data
    ],
)
def test_heaps_that_hdf5_would_follow_for_ever(
    tmp_path: Path, place: int, value: int, fault: str
) -> None:
    write_flow(tmp_path / "a.flo5", sample())
    content = bytearray((tmp_path / "a.flo5").read_bytes())
    header = content.index(b"HEAP")
    size, free, address = (
        int.from_bytes(content[header + at : header + at + 8], "little") for at in (8, 16, 24)
    )
    assert (free, address - header) == (16, 32)
    assert size > free
    where = address + place
    content[where : where + 8] = value.to_bytes(8, "little")
    (tmp_path / "b.flo5").write_bytes(content)
    with pytest.raises(FlowFileError, match=fault):
        read_flow(tmp_path / "b.flo5")
