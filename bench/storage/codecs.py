"""Alternatives to the codec of a store, and formats of other fields: flow to bytes and back."""

import struct
from collections.abc import Callable
from typing import NamedTuple

import numcodecs
import numpy as np
import zfpy

from engine.store import prediction
from engine.store.levels import flow_from_levels, levels_from_flow
from engine.types import Array, Flow

_SIZE = struct.Struct("<II")


class Codec(NamedTuple):
    """A way to store a flow in bytes."""

    encode: Callable[[Flow], bytes]
    decode: Callable[[bytes], Flow]


class _Prediction(NamedTuple):
    forward: Callable[[Array], Array]
    inverse: Callable[[Array, int, int], Array]


def blosc(compressor: str, level: int, shuffle: str) -> numcodecs.Blosc:
    """Return the compressor; ``shuffle`` is ``none``, ``bytes`` or ``bits``."""
    kind = ("none", "bytes", "bits").index(shuffle)
    return numcodecs.Blosc(compressor, level, kind, typesize=2)


def levels(step: float, predicted: str, compressor: numcodecs.Blosc) -> Codec:
    """Return the codec of 16-bit levels.

    Args:
        step: in pixels.
        predicted: ``nothing``, ``left`` (what a Zarr delta filter does), ``plane`` (left + above -
            above left), ``plane folded`` (what a store does: signs in the lowest bit).
        compressor: of the differences.
    """

    def encode(flow: Flow) -> bytes:
        differences = _PREDICTIONS[predicted].forward(levels_from_flow(flow, step))
        height, width, _ = flow.shape
        return _SIZE.pack(height, width) + bytes(compressor.encode(differences))

    def decode(data: bytes) -> Flow:
        height, width = _SIZE.unpack_from(data)
        content = np.frombuffer(bytearray(compressor.decode(data[_SIZE.size :])), np.uint8)
        return flow_from_levels(_PREDICTIONS[predicted].inverse(content, height, width), step)

    return Codec(encode, decode)


def float16(compressor: numcodecs.Blosc) -> Codec:
    """Return the codec of compressed half-precision floats."""

    def encode(flow: Flow) -> bytes:
        planes = np.ascontiguousarray(np.moveaxis(flow, -1, 0), np.float16)
        return _SIZE.pack(*flow.shape[:2]) + bytes(compressor.encode(planes))

    def decode(data: bytes) -> Flow:
        content = np.frombuffer(compressor.decode(data[_SIZE.size :]), np.float16)
        planes = content.reshape(2, *_SIZE.unpack_from(data))
        return np.ascontiguousarray(np.moveaxis(planes, 0, -1), np.float32)

    return Codec(encode, decode)


def zfp(tolerance: float) -> Codec:
    """Return zfp's mode of fixed accuracy; unknown pixels, which it has not, go into a mask."""
    compressor = blosc("zstd", 5, "none")

    def encode(flow: Flow) -> bytes:
        unknown = np.isnan(flow[..., 0])
        planes = np.where(unknown, np.float32(0), np.moveaxis(flow, -1, 0))
        mask = compressor.encode(np.packbits(unknown)) if unknown.any() else b""
        data = [zfpy.compress_numpy(np.ascontiguousarray(p), tolerance=tolerance) for p in planes]
        return _SIZE.pack(len(mask), len(data[0])) + mask + b"".join(data)

    def decode(data: bytes) -> Flow:
        mask_end, x_end = np.cumsum(_SIZE.unpack_from(data)) + _SIZE.size
        parts = data[mask_end:x_end], data[x_end:]
        flow = np.stack([zfpy.decompress_numpy(part) for part in parts], axis=-1)
        if mask := data[_SIZE.size : mask_end]:
            bits = np.unpackbits(np.frombuffer(compressor.decode(mask), np.uint8))
            flow[bits[: flow[..., 0].size].reshape(flow.shape[:2]).astype(bool)] = np.nan
        return flow

    return Codec(encode, decode)


def _left(values: Array) -> Array:
    return np.diff(values, axis=2, prepend=np.int16(0))


def _plane(values: Array) -> Array:
    return np.diff(_left(values), axis=1, prepend=np.int16(0))


def _planes(content: Array, height: int, width: int) -> Array:
    return content.view(np.int16).reshape(2, height, width)


def _sum_left(content: Array, height: int, width: int) -> Array:
    return np.cumsum(_planes(content, height, width), axis=2, dtype=np.int16)


def _sum_plane(content: Array, height: int, width: int) -> Array:
    return np.cumsum(_sum_left(content, height, width), axis=1, dtype=np.int16)


_PREDICTIONS = {
    "nothing": _Prediction(lambda values: values, _planes),
    "left": _Prediction(_left, _sum_left),
    "plane": _Prediction(_plane, _sum_plane),
    "plane folded": _Prediction(prediction.bytes_from_levels, prediction.levels_from_bytes),
}
