"""Image pairs with ground truth, in memory and in files laid out as Flying Chairs'."""

import os
import struct
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

_ADVICE = "restore it or remove its pair"
FLO_MAGIC = 202021.25  # "PIEH" read as a float: vision.middlebury.edu/flow


@dataclass(frozen=True)
class Pairs:
    """A batch of image pairs with ground truth.

    Attributes:
        image1: (B, 3, H, W) uint8 RGB.
        image2: likewise.
        flow: (B, 2, H, W) float32, pixels, x then y, from image 1 to image 2.
        occluded: (B, 1, H, W) bool: the pixel of image 1 is hidden in image 2, or outside it.
    """

    image1: Tensor
    image2: Tensor
    flow: Tensor
    occluded: Tensor

    def to(self, device: torch.device | str) -> "Pairs":
        """Copy to a device."""
        return Pairs(*(getattr(self, field.name).to(device) for field in fields(self)))


def read_image(path: Path) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the file cannot be decoded.
        OSError: the file cannot be read.
    """
    # Not imread, which crashes on a path that is not UTF-8; imdecode raises on no bytes.
    data = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ValueError(f"{path}: not a readable image; {_ADVICE}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_flo(path: Path) -> np.ndarray:
    """Read a Middlebury .flo file as (H, W, 2) float32 (format: vision.middlebury.edu/flow).

    Raises:
        ValueError: wrong magic number, the size does not fit the header, or flow is unknown
            somewhere, which no set that is trained on here has.
    """
    raw = path.read_bytes()
    height, width = _size_in(raw[:12], path)
    if width <= 0 or height <= 0 or len(raw) != 12 + 8 * width * height:
        raise ValueError(f"{path}: {len(raw)} bytes do not hold a {height}x{width} flow; {_ADVICE}")
    flow = np.frombuffer(raw, "<f4", offset=12).reshape(height, width, 2).copy()
    if not (np.abs(flow) < 1e9).all():
        raise ValueError(f"{path}: flow is unknown or no number somewhere; {_ADVICE}")
    return flow


def flo_size(path: Path) -> tuple[int, int]:
    """Read the height and width in the header of a Middlebury .flo file.

    Raises:
        ValueError: wrong magic number.
    """
    with path.open("rb") as file:
        return _size_in(file.read(12), path)


def _size_in(header: bytes, path: Path) -> tuple[int, int]:
    if len(header) < 12 or np.frombuffer(header[:4], "<f4")[0] != np.float32(FLO_MAGIC):
        raise ValueError(f"{path}: not a .flo file; {_ADVICE}")
    width, height = (int(n) for n in np.frombuffer(header[4:], "<i4"))
    return height, width


def write_pairs(folder: Path, pairs: Pairs, *, first: int = 1) -> None:
    """Write a batch as ``00001_img1.ppm``, ``00001_img2.ppm``, ``00001_flow.flo`` and so on."""
    for i in range(len(pairs.flow)):
        stem = folder / f"{first + i:05d}"
        for number, images in ((1, pairs.image1), (2, pairs.image2)):
            _, height, width = images[i].shape
            pixels = images[i].permute(1, 2, 0).contiguous().cpu().numpy()
            header = f"P6\n{width} {height}\n255\n".encode()
            _write(Path(f"{stem}_img{number}.ppm"), header + pixels.tobytes())
        flow = pairs.flow[i].permute(1, 2, 0).contiguous().cpu().numpy().astype("<f4")
        header = struct.pack("<fii", FLO_MAGIC, flow.shape[1], flow.shape[0])
        _write(Path(f"{stem}_flow.flo"), header + flow.tobytes())


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)
