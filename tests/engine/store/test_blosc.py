import contextlib
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import FlowFileError
from engine.store.blosc import compress, decompress, largest_frame


@given(st.binary(min_size=1, max_size=600), st.sampled_from([1, 2, 8]))
def test_round_trip(content, type_size):
    frame = compress(np.frombuffer(content, np.uint8), type_size)
    assert decompress(frame, (3, len(content))).tobytes() == content


@pytest.mark.parametrize("size", [1 << 10, 1 << 20, 40_000_000])
def test_nothing_compresses_beyond_the_limit(size):
    frame = compress(np.zeros(size, np.uint8), 2)
    assert not decompress(frame, (size,)).any()


def test_another_size_than_expected():
    frame = compress(np.zeros(100, np.uint8), 1)
    with pytest.raises(FlowFileError, match="bytes to 100; expected 99 or 101"):
        decompress(frame, (99, 101))


def test_a_size_that_a_short_frame_cannot_have():
    frame = bytearray(compress(np.zeros(1000, np.uint8), 1))
    struct.pack_into("<I", frame, 4, 1 << 30)
    with pytest.raises(FlowFileError, match=f"bytes to {1 << 30}; expected {1 << 30}"):
        decompress(bytes(frame), (1 << 30,))


@pytest.mark.parametrize("length", [0, 15, 16, 40])
def test_truncated(length):
    frame = compress(np.arange(100, dtype=np.uint8), 1)
    with pytest.raises(FlowFileError, match="truncated"):
        decompress(frame[:length], (100,))


@given(st.data())
def test_damage_is_an_error_or_other_content(data):
    frame = bytearray(compress(np.arange(500, dtype=np.int16), 2))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FlowFileError):
        assert len(decompress(bytes(frame), (1000,))) == 1000


def test_without_numcodecs():
    code = (
        "import sys; sys.modules['numcodecs'] = None\n"
        "from engine.store.blosc import decompress\n"
        "decompress(bytes([2, 1, 0, 1]) + bytes([1, 0, 0, 0] * 2 + [16, 0, 0, 0]), (1,))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'flownet-engine[store]'" in done.stderr


def test_a_frame_is_never_longer_than_its_bound(rng):
    for size in (1, 17, 1 << 17, 1_000_001):
        noise = rng.integers(0, 256, size, np.uint8)
        assert len(compress(noise, 2)) <= largest_frame(size)
