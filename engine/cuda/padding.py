"""Pad images and crop flows on the device, as ``engine.images`` does on the host.

Uses 2-D copies only, so that no kernel has to be compiled.
"""

from functools import partial
from typing import Any

from engine.cuda.device import Device
from engine.cuda.foreign_arrays import DeviceView

PIXEL = 3  # bytes: RGB
VECTOR = 8  # bytes: two float32


def pad(gpu: Device, stream: Any, image: DeviceView, target: int, size: tuple[int, int]) -> None:
    """Enqueue the copy of an image to ``target``, padded with its last column and row.

    The result equals that of ``engine.images.network_input``. Takes one copy per image of the
    batch, and at most twelve more for divisors up to 64, since each doubles the repeated part.

    Args:
        gpu: the device.
        stream: a ``pycuda.driver.Stream``.
        image: from ``engine.cuda.foreign_arrays.image_view``.
        target: address of (N, height, width, 3) bytes.
        size: padded (height, width).
    """
    *batch, height, width, _ = image.shape
    count = batch[0] if batch else 1
    rows, pitch = size[0], size[1] * PIXEL
    for index in range(count):
        source = image.address + index * image.strides[0]
        gpu.copy_2d(
            stream, source, image.strides[-3], target + index * rows * pitch, pitch,
            width=width * PIXEL, height=height,
        )  # fmt: skip
    repeat = partial(_repeat, gpu, stream, target)
    # The columns of all rows at once, including the rows below the image, which are set next.
    repeat(PIXEL, width - 1, size[1], pitch=pitch, height=count * rows)
    repeat(pitch, height - 1, rows, pitch=rows * pitch, height=count)


def crop(gpu: Device, stream: Any, flow: int, size: tuple[int, int], out: DeviceView) -> None:
    """Enqueue the copy of a flow without its padding.

    Args:
        gpu: the device.
        stream: a ``pycuda.driver.Stream``.
        flow: address of (N, height, width, 2) float32.
        size: padded (height, width).
        out: from ``engine.cuda.foreign_arrays.flow_view``.
    """
    *batch, height, width, _ = out.shape
    pitch = size[1] * VECTOR
    for index in range(batch[0] if batch else 1):
        gpu.copy_2d(
            stream, flow + index * size[0] * pitch, pitch,
            out.address + index * height * width * VECTOR, width * VECTOR,
            width=width * VECTOR, height=height,
        )  # fmt: skip


def _repeat(
    gpu: Device, stream: Any, start: int, unit: int, last: int, end: int, *, pitch: int, height: int
) -> None:
    """Copy unit ``last`` to the units after it, up to ``end``, in each of ``height`` rows."""
    source, done = start + last * unit, 1
    while last + done < end:
        more = min(done, end - last - done)
        gpu.copy_2d(
            stream, source, pitch, source + done * unit, pitch, width=more * unit, height=height
        )
        done += more
