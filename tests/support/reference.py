"""Weights and images that follow from names and sizes alone, for the published networks' outputs.

The outputs in ``tests/training/networks/reference`` are those of the published code with these
weights on these images. Only integers and exactly rounded arithmetic: the same bits anywhere.
"""

import zlib
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Network = TypeVar("Network", bound=nn.Module)

Shape = tuple[int, ...]

# Factors of the tensors whose name contains the key; without them a network's flow would be so
# small, or so large, that errors in it would not show.
_FACTORS = {
    "flownets_d.predict_flow2.": 100.0,
    "update_block.flow_head.conv2.": 0.2,
    "decoder.flow_pred.predict_layer.": 0.2,
    "corr_encoder.layers.0.": 0.05,
}


def reference_tensor(name: str, shape: Shape) -> NDArray[np.float32] | NDArray[np.int64]:
    """Return the tensor of a name in a state_dict.

    Args:
        name: as in the checkpoint; a leading ``module.`` is ignored, and the two names of one
            tensor in princeton-vl/RAFT, ``norm3`` and ``downsample.1``, give the same values.
        shape: as in the checkpoint.

    Returns:
        float32; int64 for ``num_batches_tracked``.
    """
    name = name.removeprefix("module.").replace(".norm3.", ".downsample.1.")
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return np.full(shape, 1000, np.int64)
    values = uniform(name, shape)
    if kind == "running_var":
        values = 1 + 0.5 * values
    elif kind in ("running_mean", "bias"):
        values = 0.1 * values
    elif len(shape) == 1:  # the weight of a normalisation
        values = 1 + 0.2 * values
    else:
        values = values * np.sqrt(6 / _fan_in(name, shape))
    for part, factor in _FACTORS.items():
        if part in name:
            values = factor * values
    return values.astype(np.float32)


def with_reference_weights(network: Network) -> Network:
    """Give a network, which may be on the meta device, the tensors of its names."""
    state = {
        name: torch.from_numpy(np.asarray(reference_tensor(name, tuple(value.shape))))
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state, assign=True)
    return network.eval()


def uniform(name: str, shape: Shape) -> NDArray[np.float64]:
    """Return values in [-1, 1), multiples of 2**-52, that follow from a name."""
    # numpy guarantees the raw stream of PCG64, not those of its distributions.
    bits = np.random.PCG64(zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    return (bits >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-52 - 1.0


def _fan_in(name: str, shape: Shape) -> float:
    if "deconv" in name or "upsample" in name:  # 4x4, stride 2: a quarter of the taps per output
        return float(shape[0] * np.prod(shape[2:]) / 4)
    return float(np.prod(shape[1:]))


def reference_images(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return two RGB images, (height, width, 3) uint8.

    The background moves by (2.5, -1.75) pixels, x and y, a rectangle before it by (-6.25, 4.5).
    """
    return _frame(0, height, width), _frame(1, height, width)


def _frame(time: int, height: int, width: int) -> NDArray[np.uint8]:
    # Lengths in sixteenths of a pixel.
    row, column = np.mgrid[:height, :width] * 16
    x, y = column - 40 * time, row + 28 * time
    front_x, front_y = column + 100 * time, row - 72 * time
    left, right = 16 * width * 3 // 8, 16 * width * 5 // 8
    top, bottom = 16 * height * 3 // 8, 16 * height * 3 // 4
    inside = (front_x >= left) & (front_x < right) & (front_y >= top) & (front_y < bottom)
    channels = []
    for c in range(3):
        waves = (60 * _wave(3 * x + y + 270 * c, 1400) >> 8) + (
            40 * _wave(x - 2 * y + 190 * c, 560) >> 8
        )
        board = 30 * ((x // 288 + y // 352) % 2)
        blocks = 3 * ((37 * (x // 72) + 59 * (y // 72) + 11 * c) % 23)
        front = (50 * _wave(front_x + front_y + 70 * c, 250) >> 8) + (
            40 * _wave(2 * front_x - 3 * front_y, 710) >> 8
        )
        channels.append(
            np.where(inside, 90 + 35 * c + front, 100 - 30 * c + waves + board + blocks)
        )
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


def _wave(t: NDArray[np.int64], half: int) -> NDArray[np.int64]:
    """Return a triangle wave from -256 to 256 with period ``2 * half``."""
    return np.abs(t % (2 * half) - half) * 512 // half - 256
