import os
import re
import struct
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.errors import FlowFileError, InputError
from engine.flow.formats import flow_from_bytes, read_flow, read_flow_size, write_flow

SUFFIXES = (".flo", ".png", ".pfm", ".npy", ".npz", ".flo5")
LOSSLESS = (".flo", ".pfm", ".npy", ".npz", ".flo5")
WITHOUT_TRAILER = (".npz", ".flo5")  # a zip may carry a comment, HDF5 may have free space
HEADER_2X1 = b"PIEH" + struct.pack("<ii", 2, 1)


def flow_arrays(limit: float) -> st.SearchStrategy[np.ndarray]:
    sides = st.integers(1, 6)
    return st.tuples(sides, sides).flatmap(
        lambda size: hnp.arrays(np.float32, (*size, 2), elements=st.floats(-limit, limit, width=32))
    )


def file_with(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def sample(height: int = 3, width: int = 4) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 30, (height, width, 2)).astype(np.float32)


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


def test_an_unknown_suffix_names_the_formats_and_the_nearest(tmp_path):
    with pytest.raises(FlowFileError, match=r"unknown flow format '\.flow'.*\.pfm.*mean '\.flo'"):
        read_flow(tmp_path / "a.flow")
    with pytest.raises(FlowFileError, match=r"a has no suffix, which tells the format; expected"):
        write_flow(tmp_path / "a", sample())


def test_the_suffix_may_be_in_capitals(tmp_path):
    write_flow(tmp_path / "A.FLO", sample())
    assert read_flow(tmp_path / "A.FLO")[1].all()


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.flo"):
        read_flow(tmp_path / "a.flo")


@pytest.mark.parametrize(
    "flow",
    [
        np.zeros((2, 4, 5), np.float32),
        np.zeros((1, 4, 5, 2), np.float32),
        np.zeros((4, 5), np.float32),
        np.zeros((0, 5, 2), np.float32),
        np.zeros((4, 5, 2), np.int32),
        np.zeros((4, 5, 2), np.complex64),
    ],
)
def test_only_one_float_flow_with_the_channels_last_is_written(tmp_path, flow):
    with pytest.raises(InputError, match=r"expected floats \(H, W, 2\)"):
        write_flow(tmp_path / "a.flo", flow)
    assert not list(tmp_path.iterdir())


def test_what_numpy_masks_is_not_written_as_known(tmp_path):
    flow = np.ma.masked_array(sample(), mask=np.zeros((3, 4, 2), bool))
    write_flow(tmp_path / "a.flo", flow)
    flow[1, 1] = np.ma.masked
    with pytest.raises(InputError, match=r"flow has masked values, .*: flow\.filled\(numpy\.nan"):
        write_flow(tmp_path / "a.flo", flow)
    write_flow(tmp_path / "a.flo", flow.filled(np.nan))
    assert np.argwhere(~read_flow(tmp_path / "a.flo")[1]).tolist() == [[1, 1]]


def test_a_mask_may_be_a_list(tmp_path):
    write_flow(tmp_path / "a.flo", sample()[:1, :2], [[True, False]])
    assert read_flow(tmp_path / "a.flo")[1].tolist() == [[True, False]]


@pytest.mark.parametrize("valid", [np.ones((3, 5), bool), np.ones((3, 4), np.uint8), [1], 1])
def test_a_mask_of_another_shape_or_type_is_refused(tmp_path, valid):
    with pytest.raises(InputError, match=r"valid is .* expected bool \(3, 4\)"):
        write_flow(tmp_path / "a.flo", sample(), valid)


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e9, 1e300])
def test_a_valid_pixel_needs_a_finite_flow(tmp_path, value):
    flow = sample().astype(np.float64)
    flow[1, 1, 0] = value
    with pytest.raises(InputError, match="at 1 valid pixels"):
        write_flow(tmp_path / "a.flo", flow, np.ones((3, 4), bool))


def test_half_precision_infinity_is_unknown(tmp_path):
    flow = sample().astype(np.float16)
    flow[0, 0, 0] = np.inf
    write_flow(tmp_path / "a.flo", flow)
    assert np.count_nonzero(~read_flow(tmp_path / "a.flo")[1]) == 1


@pytest.mark.parametrize("value", [-512.01, 512.0])
def test_kitti_range_is_refused_not_clipped(tmp_path, value):
    flow = sample()
    flow[0, 0, 0] = value
    with pytest.raises(InputError, match=r"a KITTI png stores -512 to 511\.98 px"):
        write_flow(tmp_path / "a.png", flow)


def test_a_failed_rename_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.flo"
    write_flow(path, sample())
    before = path.read_bytes()

    def refuse(source, target):
        assert Path(source).parent == tmp_path
        raise PermissionError("refused")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        write_flow(path, sample(5, 5))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_flo_bytes_by_hand(tmp_path):
    path = file_with(tmp_path, "a.flo", HEADER_2X1 + struct.pack("<4f", 1.5, -2, 3e9, 4))
    flow, valid = read_flow(path)
    np.testing.assert_array_equal(flow, [[[1.5, -2], [np.nan, np.nan]]])
    np.testing.assert_array_equal(valid, [[True, False]])
    write_flow(path, flow)
    assert path.read_bytes() == HEADER_2X1 + struct.pack("<4f", 1.5, -2, 1e10, 1e10)


def test_flo_agrees_with_opencv(tmp_path):
    write_flow(tmp_path / "a.flo", sample())
    np.testing.assert_array_equal(cv2.readOpticalFlow(str(tmp_path / "a.flo")), sample())
    cv2.writeOpticalFlow(str(tmp_path / "b.flo"), sample())
    np.testing.assert_array_equal(read_flow(tmp_path / "b.flo")[0], sample())


def test_flo_with_another_magic_number_is_refused(tmp_path):
    path = file_with(tmp_path, "a.flo", b"PIEG" + HEADER_2X1[4:] + bytes(16))
    with pytest.raises(FlowFileError, match=r"starts with b'PIEG', expected b'PIEH'"):
        read_flow(path)


@pytest.mark.parametrize("magic", [b"PIEH", b"HEIP"])
def test_big_endian_flo_is_refused_and_the_advice_works(tmp_path, magic):
    numbers = struct.pack(">ii", 4, 3) + sample().astype(">f4").tobytes()
    path = file_with(tmp_path, "a.flo", magic + numbers)
    with pytest.raises(FlowFileError, match="big-endian byte order") as caught:
        read_flow(path)
    advice = re.search(r"Write it as (.*)\.$", str(caught.value))
    assert advice is not None
    names = {"data": path.read_bytes(), "numpy": np}
    swapped = file_with(tmp_path, "b.flo", eval(advice[1], names))
    np.testing.assert_array_equal(read_flow(swapped)[0], sample())


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


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (-1, -2), (-(2**31), 1)])
def test_flo_sizes_are_positive(tmp_path, size):
    path = file_with(tmp_path, "a.flo", b"PIEH" + struct.pack("<ii", *size) + bytes(16))
    with pytest.raises(FlowFileError, match="expected positive sizes"):
        read_flow(path)


def test_flo_with_an_absurd_size_is_refused_by_its_length(tmp_path):
    side = 2**31 - 1
    path = file_with(tmp_path, "a.flo", b"PIEH" + struct.pack("<ii", side, side) + bytes(16))
    with pytest.raises(FlowFileError, match=f"has {side}x{side} pixels in its header; expected at"):
        read_flow(path)


@pytest.mark.parametrize(("scale", "order"), [("-1.0", "<"), ("1", ">")])
def test_pfm_bytes_by_hand(tmp_path, scale, order):
    lower, upper = (1.0, 2.0, 0.0), (3.0, 4.0, 0.0)
    content = f"PF\n1 2\n{scale}\n".encode() + struct.pack(f"{order}6f", *lower, *upper)
    flow, valid = read_flow(file_with(tmp_path, "a.pfm", content))
    np.testing.assert_array_equal(flow, [[[3, 4]], [[1, 2]]])
    assert valid.all()


def test_pfm_agrees_with_opencv(tmp_path):
    write_flow(tmp_path / "a.pfm", sample())
    seen = cv2.imread(str(tmp_path / "a.pfm"), cv2.IMREAD_UNCHANGED)  # BGR: the file's third first
    np.testing.assert_array_equal(seen, np.dstack([np.zeros((3, 4)), sample()[..., ::-1]]))


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", " "])
def test_pfm_data_may_begin_with_a_blank(tmp_path, end):
    header = end.join(["PF", "1 1", "-1e0", ""]).encode()
    content = header + b"\n\n\n\x20" + struct.pack("<2f", 2, 0)
    flow, _ = read_flow(file_with(tmp_path, "a.pfm", content))
    assert flow[0, 0].tolist() == [np.frombuffer(b"\n\n\n\x20", "<f4")[0], 2]
    with pytest.raises(FlowFileError, match=r"expected 12 from its header: tr(uncated|ailing)"):
        read_flow(file_with(tmp_path, "a.pfm", content[:-2]))


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"P6\n1 1\n-1\n", "expected 'PF'"),
        (b"Pf\n1 1\n-1\n", "has 1 channel"),
        (b"PF\n-1 1\n-1\n", "expected 'PF', width, height and scale"),
        (b"PF\n0 1\n-1\n", "expected positive sizes"),
        (b"PF\n1 1\n0.0\n", "a scale other than 0"),
        (b"PF\n1 1\nnan\n", "expected 'PF'"),
        (b"PF\n999999999 999999999\n-1\n", "has 999999999x999999999 pixels in its"),
        (b"PF\n" + b"9" * 5000 + b" 1\n-1\n", "expected 'PF'"),
    ],
)
def test_pfm_headers_that_are_refused(tmp_path, header, text):
    with pytest.raises(FlowFileError, match=text):
        read_flow(file_with(tmp_path, "a.pfm", header + bytes(12)))


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


def test_names_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "a.flo")
    for name, text in (
        ("a.flo", "is a pipe"), ("b.flo", "is a folder"), ("c" * 300 + ".flo", "is a name of"),
        ("d\0.flo", "is no name"),
    ):  # fmt: skip
        if name == "b.flo":
            (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=f"{text}.*; expected a flow file"):
            read_flow(tmp_path / name)
    (tmp_path / "zero.flo").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is a device; expected a flow file"):
        read_flow(tmp_path / "zero.flo")


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
