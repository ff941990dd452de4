"""KITTI's PNG through read_flow and write_flow, against OpenCV and the specification's wording."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.errors import FlowFileError
from engine.flow.formats import read_flow, write_flow


def file_with(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def png(width: int, height: int, rows: bytes, *, depth: int = 16, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, interlace)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def filtered_rows(pixels: np.ndarray, filters: list[int]) -> bytes:
    """PNG rows of (H, W, 3) uint16, filtered byte by byte as the specification words it."""
    rows = [list(row.astype(">u2").tobytes()) for row in pixels]
    above = [0] * len(rows[0])
    out = bytearray()
    for kind, row in zip(filters, rows, strict=True):
        out.append(kind)
        for index, value in enumerate(row):
            a = row[index - 6] if index >= 6 else 0
            b = above[index]
            c = above[index - 6] if index >= 6 else 0
            paeth = min((a, b, c), key=lambda side: abs(a + b - c - side))
            out.append((value - (0, a, b, (a + b) // 2, paeth)[kind]) % 256)
        above = row
    return bytes(out)


def test_kitti_png_as_opencv_sees_it(tmp_path):
    flow = np.array([[[0, 1 / 64], [-512, 511.984375]], [[np.nan, 0], [10.25, -3.5]]], np.float32)
    write_flow(tmp_path / "a.png", flow)
    bgr = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert bgr.dtype == np.uint16
    expected = [[[32768, 32769, 1], [0, 65535, 1]], [[0, 0, 0], [33424, 32544, 1]]]
    np.testing.assert_array_equal(bgr[..., ::-1], expected)


@given(
    levels=hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)),
    strategy=st.integers(0, 4),
)
def test_kitti_png_written_by_opencv_is_read(tmp_path_factory, levels, strategy):
    path = tmp_path_factory.mktemp("flow") / "a.png"
    rgb = np.dstack([levels, levels[::-1] ^ 0x5A5A, np.ones_like(levels)])
    cv2.imwrite(str(path), rgb[..., ::-1], [cv2.IMWRITE_PNG_STRATEGY, strategy])
    flow, valid = read_flow(path)
    np.testing.assert_array_equal(flow * 64 + 32768, rgb[..., :2])
    assert valid.all()


@pytest.mark.parametrize("decoder", ["opencv", "numpy"])
@given(data=st.data())
def test_every_png_row_filter_is_undone(tmp_path_factory, decoder, data):
    pixels = data.draw(
        hnp.arrays(np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))
    )
    pixels[..., 2] |= 1
    height, width, _ = pixels.shape
    filters = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    content = png(width, height, filtered_rows(pixels, filters))
    path = file_with(tmp_path_factory.mktemp("flow"), "a.png", content)
    with pytest.MonkeyPatch.context() as patch:
        if decoder == "numpy":
            patch.setattr("engine.flow.formats.png16._decoded_by_opencv", lambda *_: None)
        flow, _ = read_flow(path)
    np.testing.assert_array_equal(flow * 64 + 32768, pixels[..., :2])
    np.testing.assert_array_equal(cv2.imread(str(path), -1)[..., ::-1], pixels)


@pytest.mark.parametrize(
    "extra",
    [chunk(b"tRNS", bytes(6)), chunk(b"gAMA", bytes([0, 0, 177, 143])), chunk(b"sBIT", b"\10" * 3)],
)
def test_other_chunks_change_nothing(tmp_path, extra):
    """A transparent colour, a gamma, fewer significant bits: none of a flow's business."""
    content = png(2, 1, bytes([0, *range(12)]))
    end_of_header = 8 + 25
    path = file_with(tmp_path, "a.png", content[:end_of_header] + extra + content[end_of_header:])
    flow, _ = read_flow(path)
    assert (flow[0] * 64 + 32768).tolist() == [[0x0001, 0x0203], [0x0607, 0x0809]]


def test_a_picture_is_no_kitti_flow(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(FlowFileError, match=r"8 bits, colour type 2.*Is it a picture of a flow"):
        read_flow(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 5), np.uint16))
    with pytest.raises(FlowFileError, match="16 bits, colour type 0"):
        read_flow(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (png(1, 1, bytes(7), interlace=1), "interlace 1"),
        (png(0, 1, bytes(7)), "is a 0x1 PNG"),
        (png(1, 1, b"\5" + bytes(6)), "row filter 5"),
        (png(1, 1, bytes(6)), "expected 7 for 1x1"),
        (png(1, 1, bytes(8)), "expected 7 for 1x1"),
        (png(2**31 - 1, 2**31 - 1, bytes(9)), "has 2147483647x2147483647 pixels"),
        (png(1, 1, bytes(7))[:-5] + b"\0" + png(1, 1, bytes(7))[-4:], "damaged PNG chunk"),
        (png(1, 1, bytes(7)).replace(b"IHDR", b"IHDX"), "damaged PNG chunk b'IHDX'"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""), "does not begin with a PNG header"),
        (b"GIF89a", "expected the PNG signature"),
    ],
)
def test_pngs_that_are_refused(tmp_path, content, text):
    with pytest.raises(FlowFileError, match=text):
        read_flow(file_with(tmp_path, "a.png", content))


@pytest.mark.parametrize("height", [1, 174762, 174763])
def test_the_data_are_inflated_in_pieces(tmp_path, height):
    """Rows of 7 bytes that end before, at about and after a mebibyte; one row too few or many."""
    rows = bytes(7) * height
    flow, _ = read_flow(file_with(tmp_path, "a.png", png(1, height, rows)))
    assert flow.shape == (height, 1, 2)
    for wrong in (rows[:-1], rows + b"\0"):
        with pytest.raises(FlowFileError, match=f"expected {len(rows)} for 1x{height}"):
            read_flow(file_with(tmp_path, "a.png", png(1, height, wrong)))
