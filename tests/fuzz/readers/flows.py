"""Flow files, one reader a format, and the parts of formats that are compressed or checksummed."""

import io
import struct
import zipfile
import zlib

import numpy as np

from engine.flow.formats import FLOW_SUFFIXES, bytes_from_flow, flow_from_bytes, read_flow_size
from tests.fuzz.reader import Reader, written
from tests.fuzz.readers.pictures import with_checksums

NAMES = (
    *(f"flow {suffix}" for suffix in FLOW_SUFFIXES),
    "flow .png: chunks", "flow .png: rows", "flow .npz: member",
)  # fmt: skip


def readers() -> list[Reader]:
    """See `Reader`."""
    return [
        *(
            Reader(f"flow {suffix}", lambda suffix=suffix: _seeds(suffix), _reading(suffix))
            for suffix in FLOW_SUFFIXES
        ),
        Reader(NAMES[-3], lambda: _seeds(".png"), lambda data: _read(with_checksums(data), ".png")),
        Reader(NAMES[-2], lambda: [_rows()], lambda data: _read(_png(data), ".png")),
        Reader(NAMES[-1], lambda: _seeds(".npy"), lambda data: _read(_npz(data), ".npz")),
    ]


def _flows() -> list[np.ndarray]:
    flow = np.random.default_rng(0).normal(0, 20, (5, 7, 2)).astype(np.float32)
    unknown = flow.copy()
    unknown[1, 2] = np.nan
    return [flow, unknown]


def _seeds(suffix: str) -> list[bytes]:
    seeds = [bytes_from_flow(flow, f"input{suffix}") for flow in _flows()]
    if suffix == ".npy":
        for flow in (_flows()[0].astype(np.float64), np.asfortranarray(_flows()[0])):
            stream = io.BytesIO()
            np.save(stream, flow)
            seeds.append(stream.getvalue())
    if suffix == ".npz":  # VIPER's
        stream = io.BytesIO()
        np.savez(stream, u=_flows()[0][..., 0], v=_flows()[0][..., 1])
        seeds.append(stream.getvalue())
    return seeds


def _reading(suffix: str):
    return lambda data: _read(data, suffix)


def _read(data: bytes, suffix: str) -> None:
    flow, valid = flow_from_bytes(data, f"input{suffix}")
    assert flow.shape == (*valid.shape, 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow[valid]).all()
    assert read_flow_size(written(data, f"input{suffix}")) == valid.shape


def _rows() -> bytes:
    """The rows of a KITTI png before compression, behind width and height."""
    width, height = 7, 5
    rows = np.random.default_rng(0).integers(0, 256, (height, 1 + 6 * width), dtype=np.uint8)
    rows[:, 0] = np.arange(height) % 5  # each filter
    return bytes([width, height]) + rows.tobytes()


def _png(rows: bytes) -> bytes:
    width, height = (*rows[:2], 0, 0)[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows[2:], 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _npz(member: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flow.npy", member)
    return stream.getvalue()
