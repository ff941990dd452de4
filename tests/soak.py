"""Many inferences in several threads at once: each flow bit-equal to the first, memory flat.

Each thread calls the same engine in another way: `infer`, `infer_async`, `stream`, `infer_many`.

python -m tests.soak --inferences 100000
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import engine
from engine import FlowEngine
from engine.types import Flow, Image

# Two sizes, so that a runtime's buffers change; the same pairs again and again.
_SIZES = (64, 64), (64, 128)
_PAIRS = 8
_PARTS = 10
# MiB of memory from the end of the first part to the end of the last one.
_GROWTH = 16

_Pair = tuple[Image, Image]


class Soak:
    """Counts the flows of all threads, and those that differ from the first one of their pair."""

    def __init__(self, flow_engine: FlowEngine) -> None:
        """Compute the first flow of each pair."""
        self.engine = flow_engine
        rng = np.random.default_rng(0)
        self._pairs: list[_Pair] = [
            tuple(rng.integers(0, 256, (2, *_SIZES[index % 2], 3), dtype=np.uint8))
            for index in range(_PAIRS)
        ]
        self._expected = [flow_engine.infer(*pair).tobytes() for pair in self._pairs]
        self.done = self.different = 0
        self._lock = threading.Lock()

    def run(self, inferences: int, threads: int) -> None:
        """Infer so often, in so many threads."""
        calls = (self._infer, self._infer_async, self._stream, self._infer_many)
        each = inferences // threads
        with ThreadPoolExecutor(threads) as pool:
            jobs = [pool.submit(self._repeat, calls[i % 4], i, each) for i in range(threads)]
            for job in jobs:
                job.result()

    def _repeat(self, call: Callable[[_Pair], Flow], first: int, count: int) -> None:
        for number in range(first, first + count):
            index = number % _PAIRS
            same = call(self._pairs[index]).tobytes() == self._expected[index]
            with self._lock:
                self.done += 1
                self.different += not same

    def _infer(self, pair: _Pair) -> Flow:
        return self.engine.infer(*pair)

    def _infer_async(self, pair: _Pair) -> Flow:
        return self.engine.infer_async(*pair).result()

    def _stream(self, pair: _Pair) -> Flow:
        (flow,) = self.engine.stream(pair)
        return flow

    def _infer_many(self, pair: _Pair) -> Flow:
        (flow,) = self.engine.infer_many([pair])
        return flow


def soak(backend: str, inferences: int, threads: int) -> Iterator[tuple[int, float, float, int]]:
    """Yield the inferences so far, their seconds, MiB and different flows, after each tenth."""
    with engine.load(backend=backend, threads=1) as flow_engine:
        run, start = Soak(flow_engine), time.monotonic()
        for _ in range(_PARTS):
            run.run(inferences // _PARTS, threads)
            yield run.done, time.monotonic() - start, _mebibytes(), run.different


def _mebibytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    """Run the command; return 1 if a flow differed or memory grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--inferences", type=int, default=100_000, help="of each backend")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--backends", nargs="+", default=["onnxruntime", "openvino"])
    options = parser.parse_args()
    failed = False
    for backend in options.backends:
        print(f"{backend}, {options.threads} threads")
        print(f"{'inferences':>12}{'seconds':>10}{'MiB':>10}{'different':>12}")
        memory = []
        for done, seconds, mebibytes, different in soak(
            backend, options.inferences, options.threads
        ):
            print(f"{done:>12,}{seconds:>10.1f}{mebibytes:>10.1f}{different:>12}", flush=True)
            memory.append(mebibytes)
        growth = memory[-1] - memory[0]
        print(f"memory since the first row: {growth:+.1f} MiB (at most {_GROWTH} allowed)\n")
        failed |= bool(different) or growth > _GROWTH
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
