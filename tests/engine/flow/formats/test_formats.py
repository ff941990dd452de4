"""What holds for every format: round trips, unknown pixels, damage, limits."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.errors import FlowFileError
from engine.flow.formats import flow_from_bytes, read_flow, read_flow_size, write_flow
from tests.engine.flow.formats.samples import SUFFIXES, file_with, sample

LOSSLESS = (".flo", ".pfm", ".npy", ".npz", ".flo5")
WITHOUT_TRAILER = (".npz", ".flo5")  # a zip may carry a comment, HDF5 may have free space


def flow_arrays(limit: float) -> st.SearchStrategy[np.ndarray]:
    sides = st.integers(1, 6)
    return st.tuples(sides, sides).flatmap(
        lambda size: hnp.arrays(np.float32, (*size, 2), elements=st.floats(-limit, limit, width=32))
    )


@pytest.mark.parametrize("suffix", LOSSLESS)
@given(flow=flow_arrays(1e9))
def test_lossless_formats_return_the_same_bits(tmp_path_factory, suffix, flow):
    path = tmp_path_factory.mktemp("flow") / f"a{suffix}"
    write_flow(path, flow)
    read, valid = read_flow(path)
    assert read.dtype == np.float32
    assert read.tobytes() == flow.tobytes()
    assert valid.shape == flow.shape[:2]
    assert valid.all()


@given(flow=flow_arrays(511.5))
def test_kitti_png_is_within_half_a_level(tmp_path_factory, flow):
    path = tmp_path_factory.mktemp("flow") / "a.png"
    write_flow(path, flow)
    read, valid = read_flow(path)
    assert np.abs(read.astype(np.float64) - flow).max() <= 1 / 128 + 1e-9
    assert valid.all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unknown_pixels_come_back_as_invalid_and_nan(tmp_path, suffix):
    flow = sample()
    flow[0, 1] = np.nan
    flow[1, 2, 1] = 1e10
    flow[2, 3, 0] = -np.inf
    expected = np.ones((3, 4), bool)
    expected[[0, 1, 2], [1, 2, 3]] = False
    write_flow(tmp_path / f"a{suffix}", flow)
    read, valid = read_flow(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(valid, expected)
    assert np.isnan(read[~valid]).all()
    np.testing.assert_allclose(read[valid], flow[valid], atol=1 / 128)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_mask_decides_which_pixels_are_written(tmp_path, suffix):
    flow = sample()
    mask = np.eye(3, 4, dtype=bool)
    flow[~mask] = 7e8  # would not even fit a KITTI png
    write_flow(tmp_path / f"a{suffix}", flow, mask)
    read, valid = read_flow(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(valid, mask)
    assert np.isnan(read[~mask]).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_flow_without_any_known_pixel_survives(tmp_path, suffix):
    write_flow(tmp_path / f"a{suffix}", np.full((2, 3, 2), np.nan, np.float32))
    flow, valid = read_flow(tmp_path / f"a{suffix}")
    assert flow.shape == (2, 3, 2)
    assert not valid.any()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_memory_layout_in_and_a_writable_c_array_out(tmp_path, suffix):
    flow = sample()
    write_flow(tmp_path / f"a{suffix}", np.asfortranarray(flow.astype(np.float64)))
    write_flow(tmp_path / f"b{suffix}", np.flip(flow, 0)[::-1])
    first, _ = read_flow(tmp_path / f"a{suffix}")
    second, _ = read_flow(str(tmp_path / f"b{suffix}"))
    np.testing.assert_array_equal(first, second)
    assert first.flags.c_contiguous
    assert first.flags.writeable
    np.testing.assert_allclose(first, flow, atol=1 / 128)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (40, 50)])
def test_the_size_is_read_from_the_header(tmp_path, suffix, size):
    path = tmp_path / f"a{suffix}"
    write_flow(path, sample(*size))
    assert read_flow_size(path) == size
    if suffix not in (".npz", ".flo5"):  # whose directories may be anywhere
        path.write_bytes(path.read_bytes()[:160])
        assert read_flow_size(path) == size
    path.write_bytes(b"XXXX" + path.read_bytes()[4:])
    with pytest.raises(FlowFileError, match=f"a{suffix}: "):
        read_flow_size(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_truncation_and_trailing_bytes_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_flow(path, sample(2, 2))
    data = path.read_bytes()
    # HDF5 has some kilobytes of headers.
    for length in range(0, len(data), 1 if len(data) < 1000 else 23):
        path.write_bytes(data[:length])
        with pytest.raises(FlowFileError, match=f"a{suffix}: "):
            read_flow(path)
    if suffix not in WITHOUT_TRAILER:
        path.write_bytes(data + b"\0")
        with pytest.raises(FlowFileError, match="trailing bytes"):
            read_flow(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.data())
def test_damage_is_refused_or_harmless(tmp_path_factory, suffix, data):
    path = tmp_path_factory.mktemp("flow") / f"a{suffix}"
    write_flow(path, sample(2, 2))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        flow, valid = read_flow(path)
    except FlowFileError:
        return
    assert flow.shape == (*valid.shape, 2)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(content=st.binary(max_size=80))
def test_noise_is_refused(tmp_path_factory, suffix, content):
    path = file_with(tmp_path_factory.mktemp("flow"), f"a{suffix}", content)
    with pytest.raises(FlowFileError):
        read_flow(path)


def test_the_suffix_may_be_in_capitals(tmp_path):
    write_flow(tmp_path / "A.FLO", sample())
    assert read_flow(tmp_path / "A.FLO")[1].all()


def test_content_of_another_format_is_named(tmp_path):
    write_flow(tmp_path / "a.npz", sample())
    (tmp_path / "a.npz").rename(tmp_path / "a.flo")
    with pytest.raises(FlowFileError, match=r"not a .flo file. It looks like a .npz file: rename"):
        read_flow(tmp_path / "a.flo")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_content_without_a_name_tells_its_format(tmp_path, suffix):
    write_flow(tmp_path / f"a{suffix}", sample())
    data = (tmp_path / f"a{suffix}").read_bytes()
    np.testing.assert_allclose(flow_from_bytes(data, "stdin")[0], sample(), atol=1 / 128)
    with pytest.raises(FlowFileError, match=r"stdin: starts with b'hello'; expected a flow file"):
        flow_from_bytes(b"hello", "stdin")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_flow_of_unknown_pixels_alone_is_reported(tmp_path, suffix, caplog):
    write_flow(tmp_path / f"a{suffix}", np.full((2, 3, 2), np.nan, np.float32))
    read_flow(tmp_path / f"a{suffix}")
    assert f"a{suffix}: the flow is unknown at every pixel" in caplog.text


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_number_of_pixels_is_limited(tmp_path, suffix, monkeypatch):
    write_flow(tmp_path / f"a{suffix}", sample())
    monkeypatch.setenv("FLOWNET_ENGINE_MAX_PIXELS", "12")
    read_flow(tmp_path / f"a{suffix}")
    monkeypatch.setenv("FLOWNET_ENGINE_MAX_PIXELS", "11")
    for read in (read_flow, read_flow_size):
        with pytest.raises(FlowFileError, match=rf"a{suffix}: has 3x4 pixels.*MAX_PIXELS=12"):
            read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_memory_of_large_flows(tmp_path, suffix):
    """At most 2.1 times the flow, and of .pfm also its file, which is 1.5 times as large."""
    flow = np.zeros((1000, 1000, 2), np.float32)
    write_flow(tmp_path / f"a{suffix}", flow)
    read_flow(tmp_path / f"a{suffix}")  # imports
    tracemalloc.start()
    read_flow(tmp_path / f"a{suffix}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= (2.7 if suffix == ".pfm" else 2.1) * flow.nbytes
