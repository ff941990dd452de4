"""Size, error and time of each method on a set of flows."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.storage.methods import Method
from engine.errors import InputError
from engine.flow.validity import known
from engine.types import Flow


@dataclass
class Row:
    """A method on a set of flows; None if it cannot store one of them.

    Attributes:
        method: its name.
        reason: why it cannot.
        bytes: of a flow, on average, with all that is stored beside it.
        max_error: largest error of a component, in pixels.
        mean_error: mean error of a component, in pixels.
        same_unknown: whether exactly the unknown pixels are unknown afterwards.
        write_ms: milliseconds to encode and write a flow: the fastest round, mean of the flows.
        read_ms: likewise to read and decode it.
    """

    method: str
    reason: str | None = None
    bytes: float | None = None
    max_error: float | None = None
    mean_error: float | None = None
    same_unknown: bool | None = None
    write_ms: float | None = None
    read_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    methods: Sequence[Method], flows: Sequence[Flow], *, rounds: int, advance: Callable[[], None]
) -> list[Row]:
    """Measure all methods; they take turns, as the speed of a machine drifts."""
    rows = [Row(method.name) for method in methods]
    fastest = {row.method: np.full((2, len(flows)), math.inf) for row in rows}
    for number in range(rounds):
        for method, row in zip(methods, rows, strict=True):
            if row.reason is None:
                with _folder() as folder:
                    try:
                        seconds = _round(method, row, flows, folder, check=number == 0)
                    except InputError as error:
                        row.reason = str(error)
                    else:
                        np.minimum(fastest[row.method], seconds, out=fastest[row.method])
            advance()
    for row in rows:
        if row.reason is None:
            write, read = fastest[row.method].mean(axis=1) * 1000
            row.write_ms, row.read_ms = float(write), float(read)
    return rows


def _round(
    method: Method, row: Row, flows: Sequence[Flow], folder: Path, *, check: bool
) -> list[list[float]]:
    """Return seconds to write and to read each flow; fill in the row if asked to."""
    session = method.open(folder)
    written = [_timed(session.write, flow)[0] for flow in flows]
    session.finish()
    read = [_timed(session.read, index) for index in range(len(flows))]
    if check:
        files = [path for path in folder.rglob("*") if path.is_file()]
        row.bytes = sum(path.stat().st_size for path in files) / len(flows)
        _compare(row, flows, [flow for _, flow in read])
    return [written, [seconds for seconds, _ in read]]


def _compare(row: Row, flows: Sequence[Flow], found: Sequence[Flow]) -> None:
    errors, row.same_unknown = [], True
    for flow, stored in zip(flows, found, strict=True):
        valid = known(flow)
        row.same_unknown &= bool(np.array_equal(valid, known(stored)))
        both = valid & known(stored)
        errors.append(np.abs(stored[both].astype(np.float64) - flow[both]).ravel())
    joined = np.concatenate(errors)
    row.max_error, row.mean_error = float(joined.max()), float(joined.mean())


def _timed(call: Callable[[Any], Any], argument: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call(argument)
    return time.perf_counter() - started, result


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)
