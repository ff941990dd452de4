"""The engine's time end to end, beside what OpenVINO's own benchmark tool shows for the same ONNX.

python -m bench.vendor_tool
python -m bench.vendor_tool --bundle build/slim-int8 --size 448x1024

The tool (``benchmark_app``, part of OpenVINO's package) is no row of ``bench.compare``: it times
its own loop and gives no flow. It gets the ONNX of the bundle at a fixed shape and fills its inputs
once; the engine keeps every size open, and checks and lays out each pair. Both run synchronously,
with one request and the same number of threads, and take turns.
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cli import Parser, UsageError, count, seconds, size
from bench.environment import child_environment
from bench.harness.interleave import PAUSE_SECONDS
from bench.harness.plan import BY_NAME, unavailable
from bench.harness.worker import Job
from bench.harness.worker_client import WorkerError, WorkerProcess
from engine.backends.onnx_graphs import WHOLE
from engine.backends.registry import available_threads, model_file
from engine.bundle.manifest import Manifest, read_manifest
from engine.errors import EngineError
from engine.images import padded_size
from engine.loader import DEFAULT_BUNDLE

ROUNDS = 3
BACKEND = "openvino"
# What `benchmark_app` runs; that script is not in every environment's search path.
PROGRAM = "from openvino.tools.benchmark.main import main; main()"
REPORT = "benchmark_report.json"


@dataclass(frozen=True)
class Options:
    """What is asked for; ``seconds`` is the time of each of both over all rounds."""

    bundle: Path
    size: tuple[int, int]
    threads: int
    seconds: float


@dataclass(frozen=True)
class Medians:
    """Milliseconds: of each the median over its rounds' medians, since the tool tells no more."""

    engine: float
    tool: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 (it cannot be run)."""
    try:
        options = parse_options(arguments)
        manifest = read_manifest(options.bundle)
        medians = measure(options)
    except (UsageError, EngineError, WorkerError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    height, width = options.size
    print(
        f"{manifest.network} {manifest.precision}, {height}x{width}, {options.threads} threads, "
        "medians"
    )
    print(f"engine     {medians.engine:.2f} ms: engine.infer on {BACKEND}, end to end")
    print(f"tool       {medians.tool:.2f} ms: benchmark_app, the same ONNX at this size alone")
    print(f"ratio      {medians.engine / medians.tool:.3f}")
    return 0


def parse_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line.

    Raises:
        UsageError: a value makes no sense, or OpenVINO is not installed.
    """
    parser = Parser(
        prog="python -m bench.vendor_tool",
        description="Time of engine.infer on OpenVINO beside that of OpenVINO's benchmark_app.",
    )
    add = parser.add_argument
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR",
        help="default: the one inside the engine")  # fmt: skip
    add("--size", type=size, default=(384, 512), metavar="HxW", help="default: 384x512")
    add("--threads", type=count, metavar="N", help="default: every CPU this process may use")
    add("--seconds", type=seconds, default=9.0, metavar="S", help="for each of both; default: 9")
    given = parser.parse_args(arguments)
    reason = unavailable(BY_NAME[BACKEND], has_gpu=False)
    if reason is not None:
        raise UsageError(reason)
    threads = given.threads or available_threads()
    return Options(given.bundle, given.size, threads, given.seconds)


def measure(options: Options) -> Medians:
    """Let both take turns, ``ROUNDS`` times.

    Raises:
        EngineError: the folder is no bundle, or has no graph of the whole network.
        WorkerError: the engine cannot run it.
        RuntimeError: the tool cannot.
    """
    manifest = read_manifest(options.bundle)
    model = model_file(options.bundle, manifest, WHOLE, BACKEND)
    shape = padded_size(*options.size, manifest.divisor)
    engine, tool = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(WorkerProcess(_job(options, manifest, folder))) as worker:
            for _ in range(ROUNDS):
                time.sleep(PAUSE_SECONDS)
                seconds = options.seconds / ROUNDS
                answer = worker.ask({"measure": seconds}, seconds=seconds)
                engine.append(statistics.median(answer["latency_ms"]))
                time.sleep(PAUSE_SECONDS)
                tool.append(run_tool(model, shape, options, folder))
    return Medians(statistics.median(engine), statistics.median(tool))


def _job(options: Options, manifest: Manifest, folder: Path) -> Job:
    pairs = folder / "pairs.npz"
    # Random, as the tool's own inputs are.
    images = np.random.default_rng(0).integers(0, 256, (2, 1, *options.size, 3), np.uint8)
    np.savez(pairs, image1=images[0], image2=images[1])
    return Job(
        factory=BY_NAME[BACKEND].factory,
        network=manifest.network,
        backend=BACKEND,
        precision=manifest.precision,
        batch=1,
        threads=options.threads,
        pairs=str(pairs),
        bundle=str(options.bundle),
    )


def run_tool(model: Path, shape: tuple[int, int], options: Options, folder: Path) -> float:
    """Run ``benchmark_app`` once and return the median latency in milliseconds.

    It takes a number of threads only without a performance hint, hence one stream and one request,
    which is what the hint for latency means.
    """
    height, width = shape
    shapes = ",".join(f"{name}[1,{height},{width},3]" for name in ("image1", "image2"))
    whole_seconds = math.ceil(options.seconds / ROUNDS)
    command = [
        sys.executable, "-c", PROGRAM, "-m", str(model), "-d", "CPU", "-shape", shapes,
        "-hint", "none", "-api", "sync", "-nstreams", "1", "-nireq", "1",
        "-nthreads", str(options.threads), "-pin", "NO", "-infer_precision", "f32",
        "-t", str(whole_seconds), "-report_type", "no_counters", "-report_folder", str(folder),
        "-json_stats", "true",
    ]  # fmt: skip
    environment = child_environment(OMP_NUM_THREADS=str(options.threads))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no message"]
        raise RuntimeError(f"benchmark_app failed with exit code {done.returncode}: {lines[-1]}")
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return float(report["execution_results"]["latency (ms)"])


if __name__ == "__main__":
    sys.exit(main())
