"""A pair of images and its flow, by which the page checks the device that it computes on."""

import numpy as np

from engine.engine import FlowEngine
from engine.images import padded_size
from engine.types import Image

_SIDE = 64  # pixels, at least
_MOTION = 2, 1  # pixels, x and y


def reference_pair(flow_engine: FlowEngine) -> tuple[tuple[int, int], bytes]:
    """Return height and width of a pair, and its content: both images, uint8 RGB, and their flow.

    The flow is that of the engine, (H, W, 2) float32 in pixels. The page compares it with the
    network's: the engine must not refine it.
    """
    manifest = flow_engine.manifest
    size = padded_size(_SIDE, _SIDE, manifest.divisor, manifest.smallest)
    images = _waves(size, (0, 0)), _waves(size, _MOTION)
    flow = flow_engine.infer(*images).astype("<f4")
    return size, b"".join(array.tobytes() for array in (*images, flow))


def _waves(size: tuple[int, int], motion: tuple[int, int]) -> Image:
    """Return waves of several lengths and directions, moved by ``motion``."""
    y, x = np.mgrid[: size[0], : size[1]]
    x, y = x - motion[0], y - motion[1]
    waves = [np.sin(x / 3 + y / 7), np.sin(x / 9 - y / 4), np.sin(x / 15 + y / 13)]
    mixed = [waves[i] + 2 * waves[i - 1] + 3 * waves[i - 2] for i in range(3)]
    return np.rint(127.5 + 20 * np.stack(mixed, -1)).astype(np.uint8)
