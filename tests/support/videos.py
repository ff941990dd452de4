"""Tiny video files, written by PyAV directly, independently of the product's writer."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def levels(count: int, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    """Grey images, each brighter than the one before, whose first 8 columns are red."""
    images = []
    for index in range(count):
        image = np.full((height, width, 3), 40 + 150 * index // max(count - 1, 1), np.uint8)
        image[:, :8] = (200, 30, 30)
        images.append(image)
    return images


def panning(count: int, height: int = 128, width: int = 192) -> list[NDArray[np.uint8]]:
    """Noise of several scales, whose pixels move by (6, -4) from each image to the next."""
    rng = np.random.default_rng(0)
    rows, columns = height + 4 * count, width + 6 * count
    canvas = np.zeros((rows, columns, 3))
    for cell in (4, 16, 64):
        coarse = rng.uniform(0, 85, (rows // cell + 1, columns // cell + 1, 3))
        canvas += coarse.repeat(cell, 0).repeat(cell, 1)[:rows, :columns]
    corners = [(4 * index, 6 * (count - index)) for index in range(count)]
    images = [canvas[top : top + height, left : left + width] for top, left in corners]
    return [np.ascontiguousarray(image.round().astype(np.uint8)) for image in images]


def write_clip(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 1000),
    matrix: Sequence[int] | None = None,
    faststart: bool = False,
) -> Path:
    """Write images as a video of 25 frames per second, or shown at ``times * time_base``."""
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if times is not None:
            stream.codec_context.time_base = time_base
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """Write a file with audio only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    return path
