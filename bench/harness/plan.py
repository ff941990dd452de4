"""The rows of a run: which methods, at which sizes, batches and precisions."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from bench.runners.registry import BY_NAME, METHODS, OPENCV_ALGORITHMS, Method
from engine.system.argument_types import names_among

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        network: where OpenCV computes the flow, the algorithm's name.
        backend: the method, a key of `BY_NAME`.
        precision: of the network.
        size: (H, W) that all pairs are resized to; None: each pair at its own size.
        batch: pairs per call.
    """

    network: str
    backend: str
    precision: str
    size: Size | None
    batch: int

    @property
    def method(self) -> Method:
        return BY_NAME[self.backend]

    def __str__(self) -> str:
        size = "native" if self.size is None else "{}x{}".format(*self.size)
        return f"{self.network} {self.backend} {self.precision} {size} batch {self.batch}"


def row_groups(
    networks: Sequence[str],
    backends: Sequence[str],
    *,
    precisions: Sequence[str],
    sizes: Sequence[Size | None],
    batches: Sequence[int],
) -> list[list[Row]]:
    """Return every row of the run, in groups of rows that are interleaved.

    A group is one network at one size and batch, which limits the number of simultaneous processes.
    OpenCV's algorithms have one precision and take one pair at a time: they belong to the first
    group of each size. Pairs at their own size, None, are not joined to batches.
    """
    groups = []
    for size in sizes:
        opencv = [
            Row(algorithm, name, "fp32", size, 1)
            for name in backends
            if BY_NAME[name].kind == "opencv"
            for algorithm in OPENCV_ALGORITHMS
        ]
        for batch, network in itertools.product([1] if size is None else batches, networks):
            group = [
                Row(network, name, precision, size, batch)
                for precision in precisions
                for name in backends
                if BY_NAME[name].kind != "opencv" and precision in BY_NAME[name].precisions
            ]
            groups.append(group + opencv)
            opencv = []
    return [group for group in groups if group]


def backend_names(text: str, *, full: bool) -> list[str]:
    """Expand ``all`` in a comma-separated list of names, and check the others.

    Raises:
        ArgumentTypeError: an unknown name; the message suggests the nearest one.
    """
    everything = [m.name for m in METHODS if not m.named and (full or not m.slow)]
    given = names_among(("all", *BY_NAME), "backend")(text)
    expanded = (everything if name == "all" else [name] for name in given)
    return list(dict.fromkeys(name for names in expanded for name in names))
