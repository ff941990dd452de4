"""Inputs of the correlation, its expected results from ``kernels.reference``, and its cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kernels import reference
from kernels.arguments import displacement_count

ITEM_BYTES = {"fp32": 4, "fp16": 2}
DTYPES = tuple(ITEM_BYTES)
# Allowed error, relative to the largest expected value. fp32: sums in another order; fp16: rounded
# products and results (half a unit in the last place is 5e-4).
TOLERANCE = {"fp32": 1e-5, "fp16": 2e-3}


@dataclass(frozen=True)
class Setting:
    """One pair of feature maps (1, C, H, W) and the parameters; the defaults are FlowNetC's.

    Raises:
        CorrelationError: stride_2 does not divide max_displacement.
    """

    channels: int = 256
    height: int = 48
    width: int = 64
    max_displacement: int = 20
    stride_2: int = 2

    def __post_init__(self) -> None:
        displacement_count(self.max_displacement, self.stride_2)

    @property
    def parameters(self) -> dict[str, int]:
        return {"max_displacement": self.max_displacement, "stride_2": self.stride_2}

    @property
    def features_shape(self) -> tuple[int, int, int, int]:
        return 1, self.channels, self.height, self.width

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        count = displacement_count(self.max_displacement, self.stride_2)
        return 1, count**2, self.height, self.width

    @property
    def operations(self) -> int:
        """Multiplications and additions of the forward pass, without products with the padding.

        Nor with the part of a matrix product outside its band.
        """
        reach = np.arange(-self.max_displacement, self.max_displacement + 1, self.stride_2)
        rows, columns = (
            int(np.maximum(size - np.abs(reach), 0).sum()) for size in (self.height, self.width)
        )
        return 2 * self.channels * rows * columns

    @property
    def operations_padded(self) -> int:
        """2 * C * K * H * W: ``operations`` and the products with zeros outside f2."""
        return 2 * self.channels * int(np.prod(self.output_shape))

    def bytes(self, dtype: str) -> int:
        """Size of both inputs and the result, once each."""
        items = 2 * int(np.prod(self.features_shape)) + int(np.prod(self.output_shape))
        return items * ITEM_BYTES[dtype]


class Problem:
    """Random inputs of a setting, and the expected results in float64, computed on first use."""

    def __init__(self, setting: Setting, *, threads: int) -> None:
        self.setting, self.threads = setting, threads
        rng = np.random.default_rng(0)
        shapes = setting.features_shape, setting.features_shape, setting.output_shape
        # Values that are exact in float16: the expected results are the same for every type.
        self.f1, self.f2, self.grad = (
            rng.standard_normal(shape).astype(np.float16).astype(np.float32) for shape in shapes
        )

    @cached_property
    def forward(self) -> list[NDArray[np.float64]]:
        return [reference.correlation(self.f1, self.f2, **self.setting.parameters)]

    @cached_property
    def backward(self) -> list[NDArray[np.float64]]:
        parameters = self.setting.parameters
        return list(reference.correlation_gradients(self.grad, self.f1, self.f2, **parameters))


def largest_error(
    found: Sequence[NDArray[np.float64]], expected: Sequence[NDArray[np.float64]]
) -> float:
    """Return the largest difference relative to the largest expected value; NaN if any is NaN.

    Raises:
        ValueError: an array has an unexpected shape, or their number differs.
    """
    errors = []
    for one, wanted in zip(found, expected, strict=True):
        if one.shape != wanted.shape:
            raise ValueError(f"a result has shape {one.shape}; expected {wanted.shape}")
        errors.append(np.max(np.abs(one - wanted)) / np.max(np.abs(wanted)))
    # max() would drop a NaN.
    return float(np.max(errors))
