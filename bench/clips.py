"""Videos that benchmarks make for themselves."""

import argparse
import re
from pathlib import Path

import numpy as np


def clip_size(text: str) -> tuple[int, int, int]:
    """``HxWxFRAMES``, for ``type=`` of argparse: even sides, at least 3 frames."""
    match = re.fullmatch(r"([0-9]{2,5})x([0-9]{2,5})x([0-9]{1,6})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected HxWxFRAMES")
    height, width, frames = (int(part) for part in match.groups())
    if height % 2 or width % 2 or frames < 3:
        raise argparse.ArgumentTypeError(f"{text!r}: expected even sides and 3 frames or more")
    return height, width, frames


def make_clip(path: Path, height: int, width: int, frames: int) -> None:
    """Write a video of a texture that pans and turns, in H.264."""
    import av
    import cv2

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    texture = cv2.resize(noise, (width * 3 // 2, height * 3 // 2), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "fast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(frames):
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 3 * np.sin(index / 25), 1.2)
            matrix[:, 2] += np.sin(index / 40) * 40, np.cos(index / 30) * 30
            turned = cv2.warpAffine(texture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
            image = turned.astype(np.uint8, copy=False)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
