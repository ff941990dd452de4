"""The rows of a run: which methods, at which sizes, batches and precisions."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from bench.runners.registry import BY_NAME, METHODS, OPENCV_ALGORITHMS, Method
from engine.system.argument_types import names_among


@dataclass(frozen=True)
class Row:
    """One row of the table; ``network`` is the algorithm's name where OpenCV computes the flow."""

    network: str
    backend: str
    precision: str
    height: int
    width: int
    batch: int

    @property
    def method(self) -> Method:
        return BY_NAME[self.backend]

    def __str__(self) -> str:
        size = f"{self.height}x{self.width}"
        return f"{self.network} {self.backend} {self.precision} {size} batch {self.batch}"


def row_groups(
    networks: Sequence[str],
    backends: Sequence[str],
    *,
    precisions: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
) -> list[list[Row]]:
    """Return every row of the run, in groups of rows that are interleaved.

    A group is one network at one size and batch, which limits the number of simultaneous processes.
    OpenCV's algorithms have one precision and take one pair at a time: they belong to the first
    group of each size.
    """
    groups = []
    for height, width in sizes:
        opencv = [
            Row(algorithm, name, "fp32", height, width, 1)
            for name in backends
            if BY_NAME[name].kind == "opencv"
            for algorithm in OPENCV_ALGORITHMS
        ]
        for batch, network in itertools.product(batches, networks):
            group = [
                Row(network, name, precision, height, width, batch)
                for precision in precisions
                for name in backends
                if BY_NAME[name].kind != "opencv" and precision in BY_NAME[name].precisions
            ]
            groups.append(group + opencv)
            opencv = []
    return [group for group in groups if group]


def backend_names(text: str, *, full: bool) -> list[str]:
    """Expand ``all``, or check a comma-separated list of names.

    Raises:
        ArgumentTypeError: an unknown name; the message suggests the nearest one.
    """
    if text == "all":
        return [m.name for m in METHODS if not m.named and (full or not m.slow)]
    return names_among(BY_NAME, "backend")(text)
