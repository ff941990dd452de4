"""The process of one row: it loads one runtime and answers one request at a time.

``python -m bench.harness.worker`` reads JSON lines from standard input and answers each with one on
standard output: first a ``Job``, then ``{"flows": [IMAGES, FILE]}``, which writes the flows of the
pairs in a file to another one, or ``{"measure": SECONDS}``. It exits at the end of its input.
"""

import contextlib
import importlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bench.harness.arrays import load_arrays, save_arrays
from bench.harness.stats import timed_ms
from engine.errors import BackendError, InputError
from engine.images import network_input, padded_size

# Each measurement starts with untimed calls: since the last one, other workers used the caches.
WARM_UP_SHARE = 0.15

Images = NDArray[np.uint8]
Flows = NDArray[np.float32]


class Runner(Protocol):
    """What the factory of a method returns."""

    device: str
    runtime_version: str

    def run(self, image1: Images, image2: Images) -> Flows:
        """Flow (N, H, W, 2) in pixels of a batch of pairs (N, H, W, 3), both in host memory."""

    def device_ms(self) -> float | None:
        """Run the last inputs again; return the device time, or ``None`` on a CPU."""

    def close(self) -> None:
        """Release all resources."""


@runtime_checkable
class Overlapping(Protocol):
    """A runner that computes several batches at the same time.

    A sample is the time of ``window`` consecutive results divided by their number.
    """

    window: int

    def run_many(self, pairs: Iterable[tuple[Images, Images]]) -> Iterator[Flows]:
        """Yield the flow of each batch, in order; batches are read ahead."""


@runtime_checkable
class Streaming(Protocol):
    """A runner of video: it gets each image with the next one, cyclically over all pairs."""

    streaming: Literal[True]


@dataclass(frozen=True)
class Job:
    """The first request to a worker.

    Attributes:
        factory: ``module:function`` that takes this job and returns a ``Runner``.
        pairs: those to time, their images (H, W, 3) uint8 one after the other: a file of
            `bench.harness.arrays`. If their sizes differ, ``batch`` is 1.
        bundle: folder for the runtimes.
        weights: .safetensors for PyTorch.
        multiple: height and width are padded to multiples of it, outside the timing.
    """

    factory: str
    network: str
    backend: str
    precision: str
    batch: int
    threads: int
    pairs: str
    bundle: str | None = None
    weights: str | None = None
    multiple: int = 1


def open_runner(job: Job) -> Runner:
    module, _, function = job.factory.partition(":")
    factory: Callable[[Job], Runner] = getattr(importlib.import_module(module), function)
    return factory(job)


class Session:
    """All requests to one runner."""

    def __init__(self, job: Job) -> None:
        self.batch, self.multiple = job.batch, job.multiple
        self.runner = open_runner(job)
        self.inputs = self._batches(load_arrays(Path(job.pairs)))
        self.timed = itertools.cycle(self._timed())

    def _batches(self, images: list[Images]) -> list[tuple[Images, Images]]:
        """Join pairs to padded batches; pairs from the start complete the last one."""
        pairs = list(zip(images[::2], images[1::2], strict=True))
        starts = range(0, len(pairs), self.batch)
        chosen = [
            [pairs[i % len(pairs)] for i in range(start, start + self.batch)] for start in starts
        ]
        return [
            (self._padded([one for one, _ in batch]), self._padded([two for _, two in batch]))
            for batch in chosen
        ]

    def _padded(self, images: list[Images]) -> Images:
        height, width, _ = images[0].shape
        return network_input(np.stack(images), padded_size(height, width, self.multiple))

    def _timed(self) -> list[tuple[Images, Images]]:
        if isinstance(self.runner, Streaming):
            images = [image for pair in self.inputs for image in pair]
            return list(zip(images, [*images[1:], images[0]], strict=True))
        # Forwards, then backwards: as in a video, each image is second once, then first.
        return [pair for one, two in self.inputs for pair in ((one, two), (two, one))]

    def flows(self, pairs: str, file: str) -> dict[str, Any]:
        images = load_arrays(Path(pairs))
        flows = [flow for batch in self._results(self._batches(images)) for flow in batch]
        # Not strict: the last batch may have been completed.
        cropped = zip(flows, images[::2], strict=False)
        save_arrays(
            Path(file), [flow[: image.shape[0], : image.shape[1]] for flow, image in cropped]
        )
        return {}

    def measure(self, seconds: float) -> dict[str, Any]:
        if len({image.shape for image, _ in self.inputs}) > 1:
            return {"latency_ms": self._over_all_sizes(seconds), "device_ms": []}
        window = self.runner.window if isinstance(self.runner, Overlapping) else 1
        with contextlib.closing(self._results(self.timed)) as results:

            def next_window() -> None:
                for _ in range(window):
                    next(results)

            timed_ms(next_window, seconds=seconds * WARM_UP_SHARE)
            latency = [sample / window for sample in timed_ms(next_window, seconds=seconds)]
        return {"latency_ms": latency, "device_ms": self._device_ms(len(latency))}

    def _over_all_sizes(self, seconds: float) -> list[float]:
        """Time whole passes over the pairs, so that every round has the same sizes.

        The first call on each pair is not timed: runtimes prepare themselves for another size.
        """
        latency: list[float] = []
        deadline = time.perf_counter() + seconds
        while not latency or time.perf_counter() < deadline:
            for one, two in self.inputs:
                self.runner.run(one, two)
                latency += timed_ms(partial(self.runner.run, one, two), seconds=0)
        return latency

    def _results(self, pairs: Iterable[tuple[Images, Images]]) -> Generator[Flows]:
        if isinstance(self.runner, Overlapping):
            yield from self.runner.run_many(pairs)
        else:
            yield from itertools.starmap(self.runner.run, pairs)

    def _device_ms(self, count: int) -> list[float]:
        samples: list[float] = []
        while len(samples) < count and (sample := self.runner.device_ms()) is not None:
            samples.append(sample)
        return samples


def peak_memory_mb() -> float:
    """Return the peak of this process's resident memory."""
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss starts at the parent's own peak when a process is forked from it.
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    import resource  # POSIX, where there is no /proc

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def answer_requests(requests: TextIO, answers: TextIO) -> None:
    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        session = Session(Job(**json.loads(requests.readline())))
        # The first flow belongs to opening: some runtimes reject a size or a device only then.
        session.runner.run(*session.inputs[0])
    except (BackendError, InputError) as error:
        return answer({"status": "skipped", "reason": str(error)})
    except Exception as error:
        return answer({"status": "failed", "reason": f"{type(error).__name__}: {error}"})
    runner = session.runner
    answer({"device": runner.device, "runtime_version": runner.runtime_version})
    try:
        for line in requests:
            ((verb, argument),) = json.loads(line).items()
            reply = session.flows(*argument) if verb == "flows" else session.measure(argument)
            answer({**reply, "peak_memory_mb": round(peak_memory_mb(), 1)})
        runner.close()
    except Exception as error:
        answer({"status": "failed", "reason": f"{type(error).__name__}: {error}"})
    return None


def main() -> None:
    # Native libraries print to standard output, so the answers get a separate descriptor.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        answer_requests(sys.stdin, answers)


if __name__ == "__main__":
    main()
