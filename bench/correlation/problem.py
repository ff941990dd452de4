"""What every home of the correlation is given, what it has to make of it, and the least it takes.

Needs numpy and the specification (``kernels.reference``), no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kernels import reference
from kernels.arguments import displacement_count

ITEM_BYTES = {"fp32": 4, "fp16": 2}
DTYPES = tuple(ITEM_BYTES)
# Allowed error, relative to the largest expected value. fp32: another order of the sums; fp16:
# rounded products and results (half a unit in the last place is 5e-4).
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
        """Useful multiplications and additions of the forward pass.

        Neither what a matrix product computes beside its band counts, nor products with the zeros
        outside f2, which a home may leave out.
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
        """Both inputs and the result, once each."""
        items = 2 * int(np.prod(self.features_shape)) + int(np.prod(self.output_shape))
        return items * ITEM_BYTES[dtype]


@dataclass(frozen=True)
class Floor:
    """The least time of a forward pass, from two rates measured in the same run.

    Attributes:
        operations: of the pass; useful ones only.
        bytes: f1, f2 and the result, once each.
        matmul_gflops: rate of a large matrix product, 1e9 operations a second.
        copy_gb_s: bytes read and written by a large copy, 1e9 a second.
    """

    operations: int
    bytes: int
    matmul_gflops: float
    copy_gb_s: float

    @property
    def compute_ms(self) -> float:
        return self.operations / self.matmul_gflops / 1e6

    @property
    def traffic_ms(self) -> float:
        return self.bytes / self.copy_gb_s / 1e6

    @property
    def ms(self) -> float:
        return max(self.compute_ms, self.traffic_ms)


class Problem:
    """Random inputs of a setting and, once asked for, the expected results in float64."""

    def __init__(self, setting: Setting, *, threads: int) -> None:
        self.setting, self.threads = setting, threads
        rng = np.random.default_rng(0)
        shapes = setting.features_shape, setting.features_shape, setting.output_shape
        # Values that float16 holds exactly: one expectation serves every type.
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
    """Largest difference relative to the largest expected value; NaN if any number is one.

    Raises:
        ValueError: an array has another shape than expected, or there are more or fewer of them.
    """
    errors = []
    for one, wanted in zip(found, expected, strict=True):
        if one.shape != wanted.shape:
            raise ValueError(f"a result has shape {one.shape}; expected {wanted.shape}")
        errors.append(np.max(np.abs(one - wanted)) / np.max(np.abs(wanted)))
    # max() would drop a NaN.
    return float(np.max(errors))
