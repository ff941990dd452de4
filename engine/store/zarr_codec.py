"""The codec of ``flow`` for the package zarr, which finds it as an entry point.

So ``zarr.open_group("x.zarr")["flow"]`` works wherever this package is installed. The engine itself
does not need zarr.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer

from engine.store import prediction
from engine.store.arrays import CODEC


@dataclass(frozen=True)
class FlowCodec(ArrayBytesCodec):
    """Levels of a frame, (1, 2, H, W) int16, to bytes; see `engine.store.prediction`."""

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "FlowCodec":
        """Return the codec, which has no settings."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """Return the codec in the metadata of an array."""
        return {"name": CODEC}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known beforehand."""
        raise NotImplementedError

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        _, _, height, width = chunk_spec.shape
        content = np.array(chunk_data.as_numpy_array()).view(np.uint8)
        levels = prediction.levels_from_bytes(content, height, width)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(levels[np.newaxis])

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        (levels,) = chunk_data.as_numpy_array()
        content = prediction.bytes_from_levels(np.ascontiguousarray(levels, np.int16))
        return chunk_spec.prototype.buffer.from_bytes(content.tobytes())
