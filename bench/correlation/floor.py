"""Lower bound of the forward pass's time, from rates that are measured in the same run."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from bench.correlation.problem import Setting
from bench.correlation.timers import Timer, timer

TORCH_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
# Far larger than any cache, and large enough for the machine's sustained rates.
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
COPY_BYTES = 2**28

Kind = tuple[str, str]  # device and type


@dataclass(frozen=True)
class Floor:
    """The lower bound of a forward pass.

    Attributes:
        operations: those of the pass, without products with zeros.
        bytes: size of f1, f2 and the result, once each.
        matmul_gflops: rate of a large matrix product, 1e9 operations per second.
        copy_gb_s: bytes read and written by a large copy, 1e9 per second.
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


class Rates:
    """A matrix product and a copy of one device and type; samples are milliseconds per call."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.timers: dict[str, Timer] = {"matmul": _matmul(*kind), "copy": _copy(kind[0])}
        self.samples: dict[str, list[float]] = {name: [] for name in self.timers}

    def __str__(self) -> str:
        return f"rates of {' '.join(self.kind)}"

    def floor(self, setting: Setting) -> Floor:
        """Return the bound from the fastest samples.

        A call this long is rarely undisturbed on a busy machine: its median would be a lower rate
        than that of short calls.
        """
        device, dtype = self.kind
        fastest = {name: min(samples) for name, samples in self.samples.items()}
        return Floor(
            operations=setting.operations,
            bytes=setting.bytes(dtype),
            matmul_gflops=2 * MATRIX_SIDE[device] ** 3 / fastest["matmul"] / 1e6,
            copy_gb_s=2 * COPY_BYTES / fastest["copy"] / 1e6,
        )

    def to_json(self, setting: Setting) -> dict[str, Any]:
        """Return an entry of ``floors``, see ``bench.correlation.compare``."""
        floor = self.floor(setting)
        return {
            "device": self.kind[0],
            "dtype": self.kind[1],
            **asdict(floor),
            "operations_padded": setting.operations_padded,
            "compute_ms": floor.compute_ms,
            "traffic_ms": floor.traffic_ms,
            "floor_ms": floor.ms,
            **{
                f"raw_{name}_ms": [round(sample, 5) for sample in samples]
                for name, samples in self.samples.items()
            },
        }


def _matmul(device: str, dtype: str) -> Timer:
    side = MATRIX_SIDE[device]
    a, b, out = torch.rand(3, side, side, dtype=TORCH_DTYPES[dtype], device=device)
    return timer(partial(torch.mm, a, b, out=out), device)


def _copy(device: str) -> Timer:
    source, target = torch.ones(2, COPY_BYTES, dtype=torch.uint8, device=device)
    return timer(partial(target.copy_, source), device)
