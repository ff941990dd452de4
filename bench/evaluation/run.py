"""Compute the flow and the errors of every pair, one after another."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench.evaluation.checkpoint import Checkpoint, Entry
from bench.evaluation.submission import submission_path, write_submission
from bench.evaluation.subsets import Subset
from engine.data.files import read_pair
from engine.data.pair import Pair
from engine.engine import FlowEngine
from engine.errors import EngineError
from engine.flow.regions import error_sums
from engine.flow.validity import known
from engine.images.padding import fit
from engine.system.progress import progress_bar
from engine.types import Flow


class TimedEngine:
    """Computes flows with the padding of a protocol, and measures the time.

    Args:
        engine: the open bundle.
    """

    def __init__(self, engine: FlowEngine) -> None:
        self.engine = engine
        self._sizes: set[tuple[int, ...]] = set()

    def flow_of(self, pair: Pair, subset: Subset) -> tuple[Flow, float]:
        """Return the flow of a pair, and the milliseconds of `FlowEngine.infer`.

        The first pair of a size is computed twice and the second time counts: runtimes prepare
        themselves for each new size.

        Raises:
            InputError: The bundle does not accept the size.
            BackendError: The runtime failed, or the flow is not a number everywhere.
        """
        manifest = self.engine.manifest
        around = fit(*pair.size, manifest.divisor, subset.padding, manifest.smallest)
        images = around.apply(pair.image1), around.apply(pair.image2)
        try:
            if images[0].shape not in self._sizes:
                self._sizes.add(images[0].shape)
                self.engine.infer(*images)
            start = time.perf_counter()
            flow = self.engine.infer(*images)
            milliseconds = (time.perf_counter() - start) * 1e3
        except EngineError as error:
            raise type(error)(f"{pair.name}: {error}") from error
        return around.restore(flow), milliseconds


def evaluate_pairs(
    timed: TimedEngine,
    subsets: Sequence[Subset],
    checkpoint: Checkpoint,
    *,
    write: Path | None,
    format: str | None,
) -> None:
    """Add an entry to the checkpoint for each pair that has none yet.

    Args:
        timed: computes the flows.
        subsets: all pairs, in order.
        checkpoint: gets ``subset`` (its index), ``name``, ``size``, ``ms`` and ``sums``
            (`engine.flow.regions.error_sums`; None: no pixel has true flow) of each pair.
        write: folder for the flow files.
        format: of these files, see `submission_path`.

    Raises:
        EngineError: A pair cannot be read, computed or written.
        OSError: A file cannot be read or written.
    """
    every = [(index, files) for index, subset in enumerate(subsets) for files in subset.pairs]
    finished = len(checkpoint.entries)
    todo = every[finished:]
    bar = progress_bar("evaluating", len(every), completed=finished)
    with ThreadPoolExecutor(1) as reader, bar as advance:
        reading = None
        for (index, files), following in zip(todo, [*todo[1:], None], strict=True):
            subset, pair = subsets[index], reading.result() if reading else read_pair(files)
            flow, milliseconds = timed.flow_of(pair, subset)
            if following is not None:
                # Beside the errors of this pair, but not beside the next flow, which is timed.
                reading = reader.submit(read_pair, following[1])
            entry = {"subset": index, "name": files.name, **_result(pair, flow, milliseconds)}
            if write is not None:
                write_submission(submission_path(write, subset, files, format), flow)
            checkpoint.add(entry)
            advance(_text(subset, entry))


def _result(pair: Pair, flow: Flow, milliseconds: float) -> dict[str, Any]:
    # A centre crop has no flow outside it: NVIDIA's errors are those of its pixels.
    truth = np.where(known(flow)[..., np.newaxis], pair.flow, np.nan)
    sums = error_sums(
        flow,
        truth,
        candidates=pair.candidates,
        occluded=pair.occluded,
        foreground=pair.foreground,
    )
    return {
        "size": "{}x{}".format(*pair.size),
        "ms": milliseconds,
        "sums": sums.tolist() if sums.any() else None,
    }


def _text(subset: Subset, entry: Entry) -> str:
    (pixels, error, *_), *_ = entry["sums"] or [[0, 0]]
    epe = f", EPE {error / pixels:.2f} px" if pixels else ""
    return f"{subset.title}: {entry['name']}{epe}, {entry['ms']:.0f} ms"
