"""PFM files, byte by byte and against OpenCV."""

import struct

import cv2
import numpy as np
import pytest

from engine.errors import FlowFileError
from engine.flow.formats import read_flow, write_flow
from tests.engine.flow.formats.samples import file_with, sample


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
