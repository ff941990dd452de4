"""Middlebury's .flo, byte by byte and against OpenCV."""

import re
import struct

import cv2
import numpy as np
import pytest

from engine.errors import FlowFileError
from engine.flow.formats import read_flow, write_flow
from tests.engine.flow.formats.samples import file_with, sample

HEADER_2X1 = b"PIEH" + struct.pack("<ii", 2, 1)


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
