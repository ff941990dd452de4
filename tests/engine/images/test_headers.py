"""Headers of picture files: sizes as OpenCV decodes them, and files that promise what they lack."""

import json
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.images import image_from_bytes, read_image
from engine.images.headers import check_header
from engine.images.headers.foreign import describe

# Encoders of OpenCV, with parameters that choose another layout of the file.
ENCODERS = [
    (".png", []), (".jpg", []), (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), (".bmp", []),
    (".ppm", []), (".pgm", []), (".ppm", [cv2.IMWRITE_PXM_BINARY, 0]), (".pfm", []), (".tif", []),
    (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 1]), (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80]),
    (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]), (".jp2", []),
]  # fmt: skip


def encoded(suffix: str, parameters: list[int], height: int, width: int) -> bytes:
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    pixels = {".pgm": image[..., 0], ".pfm": image.astype(np.float32)}.get(suffix, image)
    return cv2.imencode(suffix, pixels, parameters)[1].tobytes()


@pytest.mark.parametrize(("suffix", "parameters"), ENCODERS)
@settings(max_examples=8)
@given(side=st.tuples(st.integers(33, 60), st.integers(33, 60)))
def test_the_size_in_the_header_bounds_the_picture(suffix, parameters, side):
    height, width = side
    data = encoded(suffix, parameters, height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWNET_ENGINE_MAX_PIXELS", str(height * width))
        check_header(data, "a")
        patch.setenv("FLOWNET_ENGINE_MAX_PIXELS", str(height * width - 1))
        with pytest.raises(InputError, match=rf"a has {height}x{width} pixels in its header; exp"):
            check_header(data, "a")


@pytest.mark.parametrize(("suffix", "parameters"), ENCODERS)
@settings(max_examples=16)
@given(data=st.data())
def test_a_truncated_picture_is_an_input_error(suffix, parameters, data):
    content = encoded(suffix, parameters, 33, 34)
    length = data.draw(st.integers(0, len(content) - 1))
    if suffix == ".ppm" and parameters:
        length = min(length, 2000)  # of text that is complete without its last digit
    with pytest.raises(InputError, match=r"^a\.x (is|starts|has) .*\.$"):
        image_from_bytes(content[:length], "a.x")


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def large_header(suffix: str, place: int, layout: str, *values: int) -> bytes:
    """A whole picture of 64x64 whose header states another size."""
    data = bytearray(cv2.imencode(suffix, np.zeros((64, 64, 3), np.uint8))[1].tobytes())
    struct.pack_into(layout, data, place, *values)
    return bytes(data)


def tiff(*tags: tuple[int, int, int, int]) -> bytes:
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<4sIH", b"II*", 8, len(tags)) + entries


def bombs() -> dict[str, bytes]:
    """Files that take gigabytes or minutes if a decoder sees them."""
    jpeg = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    scans = cv2.imencode(
        ".jpg", np.zeros((64, 64, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    )[1].tobytes()
    last = scans.rindex(b"\xff\xda")
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    return {
        "png of 41 bytes": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + bytes(8),
        "png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""),
        "gif of 32 bytes": b"GIF89a\xff\xff\xff\xff\x80" + bytes(21),
        "jpeg": large_header(".jpg", jpeg.index(b"\xff\xc0") + 5, ">HH", 65000, 65000),
        "jpeg of many scans": scans[:last] + 200 * scans[last:-2] + scans[-2:],
        "bmp": large_header(".bmp", 18, "<ii", 30000, -30000),
        "bmp of runs": large_header(".bmp", 18, "<iiHHI", 30000, 30000, 1, 8, 1),
        "ppm": b"P6 30000 30000 255\n",
        "ppm with a comment": b"P6 #\r30000 30000 255\n#\n4 4 255\n" + bytes(48),
        "ppm of text": b"P3 30000 30000 255\n0 0 0",
        "tiff": tiff((256, 4, 1, 30000), (257, 4, 1, 30000)),
        "tiff of large tiles": tiff((322, 4, 1, 30000), (323, 4, 1, 30000)),
        "webp": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\x2f\x75\0" * 2,
        "jpeg 2000": b"\xff\x4f\xff\x51\0\0\0\0" + struct.pack(">8IH", *[30000] * 2, *[0] * 6, 3),
        "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n",
        "pam": b"P7\nWIDTH 30000\nHEIGHT 30000\nDEPTH 3\nMAXVAL 255\nENDHDR\n",
    }  # fmt: skip


def test_bombs_are_refused_before_a_decoder_sees_them(tmp_path):
    for name, data in bombs().items():
        (tmp_path / name).write_bytes(data)
    script = """
import json, sys
from pathlib import Path
from engine.images import read_image
import cv2
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before, messages = peak(), {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_image(path)
    except ValueError as error:
        messages[path.name] = str(error)
print(json.dumps([peak() - before, messages]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    kib, messages = json.loads(done.stdout)
    assert kib < 8 << 10
    assert messages.keys() == bombs().keys()
    for name, message in messages.items():
        assert "expected" in message or "truncated" in message, name


def test_the_limit_is_settable(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 5, 3), np.uint8))
    monkeypatch.setenv("FLOWNET_ENGINE_MAX_PIXELS", "19")
    with pytest.raises(InputError, match=r"expected at most 19\..* FLOWNET_ENGINE_MAX_PIXELS=20"):
        read_image(tmp_path / "a.png")
    monkeypatch.setenv("FLOWNET_ENGINE_MAX_PIXELS", "many")
    with pytest.raises(InputError, match="MAX_PIXELS is 'many'; expected a number of pixels"):
        read_image(tmp_path / "a.png")


def test_a_file_of_too_many_bytes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWNET_ENGINE_MAX_PIXELS", "10")
    with (tmp_path / "a.png").open("wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n")
        stream.truncate(1 << 32)  # takes no room on the disk
    with pytest.raises(InputError, match=r"a\.png has more than 16777296 bytes; expected fewer"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("start", "found"),
    [
        (b"\0\0\0\x1cftypisom", "is a video"), (b"\x1a\x45\xdf\xa3", "is a video"),
        (b"RIFF\0\0\0\0AVI LIST", "is a video"), (b"\0\0\0\x1cftypheic", "is an AVIF or HEIF"),
        (b"PIEH", "is a flow"), (b"\x93NUMPY\1", "is an array of NumPy"), (b"%PDF-1.7", "is a doc"),
    ],
)  # fmt: skip
def test_other_files_are_named(start, found):
    assert describe(start)[0].startswith(found)
