"""Everything that needs an NVIDIA GPU, in stages: ``make gpu``.

python -m bench.gpu
python -m bench.gpu --stages environment,kernels,tests
python -m bench.gpu --wheels DIR

Each stage says what it finds missing, and the next one runs all the same. Results go to
``bench/results/<gpu>.json``, ``<gpu>-correlation.json`` and ``<gpu>-environment.json``; the last is
what ``bench.gpu_environment`` reports, and ``tensorrt_rtx``, what became of a portable plan here.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from bench.cli import Parser, UsageError, names_among
from bench.environment import ROOT, child_environment
from bench.gpu_environment import Card, cards, lacks, portable_plan, report, tried
from bench.gpu_table import README, environment_file, write_table
from bench.harness.plan import BY_NAME
from engine.backends.registry import available_threads, one_line
from engine.errors import BackendError
from engine.system.files import write_atomically

RESULTS = ROOT / "bench" / "results"
# The kernels for this GPU do not replace those for all architectures, which `make kernels` builds.
BUILD = ROOT / "build" / "gpu"
INTERRUPTED = 130


class SkippedError(Exception):
    """A stage has no work here, or lacks what it starts from; the message says what."""


class FailedError(Exception):
    """A stage found something wrong; the message says what."""


@dataclass(frozen=True)
class Setup:
    """What the stages share: the GPUs found here, and the folder that packages come from."""

    found: Sequence[Card]
    wheels: Path | None

    @property
    def results(self) -> Path:
        """The file of the first GPU's results."""
        return RESULTS / f"{self.found[0].file_name}.json"


@dataclass(frozen=True)
class Stage:
    """A part of the work; ``work`` returns what is to be told of it, or raises."""

    about: str
    work: Callable[[Setup], str]


@dataclass(frozen=True)
class Verdict:
    stage: str
    status: Literal["passed", "failed", "skipped"]
    reason: str
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages; returns 0 (all passed), 1, or 2 (the request cannot be met)."""
    try:
        names, wheels = parse_options(arguments)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not names:
        for name, stage in STAGES.items():
            print(f"{name:<12} {stage.about}")
        return 0
    try:
        found, obstacle = cards(), ""
    except (BackendError, RuntimeError) as error:
        found, obstacle = [], f"no NVIDIA GPU: {one_line(error)}"
    verdicts = []
    try:
        for name in names:
            print(f"\n== {name}: {STAGES[name].about}", flush=True)
            verdicts.append(run_stage(name, Setup(found, wheels), obstacle))
            print(f"{verdicts[-1].status}: {verdicts[-1].reason}", flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        _print_table(verdicts)
    return int(any(verdict.status != "passed" for verdict in verdicts))


def parse_options(arguments: Sequence[str] | None) -> tuple[list[str], Path | None]:
    """Read the command line: the stages to run, none to list them, and the folder of wheels.

    Raises:
        UsageError: there is no such stage or folder.
    """
    parser = Parser(
        prog="python -m bench.gpu", description="Everything that needs an NVIDIA GPU, in stages."
    )
    add = parser.add_argument
    add("--stages", type=names_among(STAGES, "stage"), default=list(STAGES), metavar="A,B",
        help=f"of {','.join(STAGES)}; default: all")  # fmt: skip
    add("--wheels", type=Path, metavar="DIR", help="install from this folder, not from the network")
    add("--list", action="store_true", help="print the stages and stop")
    given = parser.parse_args(arguments)
    if given.wheels is not None and not given.wheels.is_dir():
        raise UsageError(f"--wheels {given.wheels}: no such folder")
    return ([] if given.list else given.stages), given.wheels and given.wheels.resolve()


def run_stage(name: str, setup: Setup, obstacle: str) -> Verdict:
    """Run one stage, whatever becomes of it; ``obstacle`` is why there is no GPU."""
    stage, start = STAGES[name], time.perf_counter()
    status: Literal["passed", "failed", "skipped"]
    try:
        if obstacle:
            raise SkippedError(obstacle)
        status, reason = "passed", stage.work(setup)
    except SkippedError as error:
        status, reason = "skipped", one_line(error)
    except FailedError as error:
        status, reason = "failed", one_line(error)
    except Exception as error:  # the next stage runs all the same
        status, reason = "failed", f"{type(error).__name__}: {one_line(error)}"
    return Verdict(name, status, reason, time.perf_counter() - start)


def _print_table(verdicts: Sequence[Verdict]) -> None:
    print()
    for verdict in verdicts:
        times = f"{verdict.seconds:7.1f} s"
        print(f"{verdict.stage:<12} {verdict.status:<8} {times}  {verdict.reason}")


def call(*command: str) -> int:
    """Run a command before the user's eyes, from the project's root; returns its exit code."""
    print(f"$ {' '.join(command)}", flush=True)
    kernels = {"FLOW_KERNELS": str(BUILD)} if _cuda_library().is_file() else {}
    return subprocess.run(
        command, cwd=ROOT, env=child_environment(**kernels), check=False
    ).returncode


def call_module(module: str, *arguments: str) -> int:
    return call(sys.executable, "-m", module, *arguments)


def _packages(setup: Setup) -> str:
    wheels = [] if setup.wheels is None else ["--wheels", str(setup.wheels)]
    if call_module("bench.packages", *wheels):
        raise FailedError("some are missing, see above")
    return "all are there"


def _environment(setup: Setup) -> str:
    found = report()
    for name, runtime in found["runtimes"].items():
        print(f"{name:<12} {runtime['version'] or 'does not import'}: {runtime['said']}")
    _record(setup, found)
    if missing := lacks(found["runtimes"]):
        raise FailedError("; ".join(missing))
    card = setup.found[0]
    return f"{card.name}, driver {card.driver}, compute capability {card.compute_capability}"


def _portable(setup: Setup) -> str:
    runtimes = {name: tried(name) for name in ("tensorrt_rtx", "pycuda")}
    if runtimes["tensorrt_rtx"]["version"] is None or not runtimes["pycuda"]["sees_gpu"]:
        raise SkippedError("; ".join(f"{name}: {it['said']}" for name, it in runtimes.items()))
    trial = portable_plan(BUILD / "portable")
    _record(setup, {"tensorrt_rtx": {**trial, "version": runtimes["tensorrt_rtx"]["version"]}})
    if trial["status"] == "failed":
        raise FailedError(trial["said"])
    if trial["status"] == "not run":
        # Which cards TensorRT for RTX serves is not ours to decide; the others need the other one.
        other = tried("tensorrt")
        if not other["sees_gpu"]:
            raise FailedError(f"it does not run here, and nothing else can: {other['said']}")
        return f"it does not run here, and that is recorded: {trial['said']}"
    return f"it runs here, {trial['mean_px']:.2g} px from fp32 PyTorch"


def _record(setup: Setup, found: Mapping[str, Any]) -> None:
    """Put something into the environment's file, beside what other stages put there."""
    file = environment_file(setup.results)
    known = json.loads(file.read_bytes()) if file.is_file() else {}
    write_atomically(file, json.dumps({**known, **found}, indent=1).encode())
    print(f"json       {file}")


def _kernels(setup: Setup) -> str:
    if shutil.which("cmake") is None:
        raise FailedError("there is no cmake; install it, 3.22 or newer")
    if shutil.which("nvcc") is None:
        raise FailedError("there is no nvcc on the path; it is often in /usr/local/cuda/bin")
    architectures = ";".join(sorted({card.architecture for card in setup.found}))
    options = ["-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_CUDA_ARCHITECTURES={architectures}"]
    threads = str(available_threads())
    _cuda_library().unlink(missing_ok=True)  # what follows is not to run on an earlier one
    if call("cmake", "-S", str(ROOT), "-B", str(BUILD), *options) or call(
        "cmake", "--build", str(BUILD), "--parallel", threads
    ):
        raise FailedError("cmake failed, see above")
    if not _cuda_library().is_file():
        raise FailedError(f"cmake made no {_cuda_library()}: it found no CUDA compiler that works")
    return f"built for sm_{architectures}: {BUILD}"


def _cuda_library() -> Path:
    return BUILD / "libflow_correlation_cuda.so"


def _tests(setup: Setup) -> str:
    file = BUILD / "tests.xml"
    file.unlink(missing_ok=True)
    code = call_module("pytest", "-m", "gpu", f"--junitxml={file}")
    if not file.is_file():
        raise FailedError(f"pytest ended with exit code {code} and no result, see above")
    cases = list(ElementTree.parse(file).getroot().iter("testcase"))
    wrong = [
        f"{case.get('classname')}.{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    if wrong or code:
        raise FailedError(f"exit code {code}; {', '.join(wrong) or 'no test failed'}")
    skipped = [found for case in cases if (found := case.find("skipped")) is not None]
    reasons = "; ".join(dict.fromkeys(each.get("message", "") for each in skipped))
    if len(skipped) == len(cases):
        raise FailedError(f"no test ran: {reasons}")
    passed = f"{len(cases) - len(skipped)} tests"
    return f"{passed}; {len(skipped)} skipped: {reasons}" if skipped else passed


def _correlation(setup: Setup) -> str:
    file = setup.results.with_name(f"{setup.results.stem}-correlation.json")
    code, rows = _measured(file, "bench.correlation", "--json", str(file))
    return _judged(code, rows, lambda row: row["device"] == "cuda", "home")


def _compare(setup: Setup) -> str:
    report_file = ROOT / "build" / "gpu.html"
    file = setup.results
    code, rows = _measured(
        file, "bench.compare", "--full", "--json", str(file), "--report", str(report_file)
    )
    return _judged(code, rows, lambda row: BY_NAME[row["backend"]].gpu, "backend")


def _measured(file: Path, *command: str) -> tuple[int, list[Any]]:
    """A bench's exit code and the rows that it writes, some of which may have failed.

    What an earlier run wrote is kept until then, and not taken for this one's: the exit code of a
    row that failed is that of a crash as well.
    """
    before = file.stat().st_mtime_ns if file.is_file() else None
    code = call_module(*command)
    if not file.is_file() or file.stat().st_mtime_ns == before:
        raise FailedError(f"exit code {code} and no results, see above")
    rows: list[Any] = json.loads(file.read_bytes())["rows"]
    if code not in (0, 1):
        raise FailedError(f"exit code {code}, see above")
    return code, rows


def _judged(code: int, rows: Sequence[Any], is_ours: Callable[[Any], bool], name: str) -> str:
    """What a bench says of its rows on the GPU, and why some are missing."""
    if code:
        raise FailedError(_reasons(rows, "failed", name) or f"exit code {code}, see above")
    ours = [row for row in rows if is_ours(row)]
    measured = sum(row["status"] == "ok" for row in ours)
    skipped = _reasons(ours, "skipped", name)
    if not measured:
        raise FailedError(f"no row ran on the GPU: {skipped}")
    return f"{measured} of {len(ours)} rows on the GPU" + f"; skipped: {skipped}" * bool(skipped)


def _reasons(rows: Sequence[Mapping[str, Any]], status: str, name: str) -> str:
    found = dict.fromkeys(
        f"{row[name]}: {row['reason']}" for row in rows if row["status"] == status
    )
    return "; ".join(found)


def _readme(setup: Setup) -> str:
    if not setup.results.is_file():
        raise SkippedError(f"there is no {setup.results}; the stage compare writes it")
    write_table(README, setup.results)
    return f"wrote the table of {README}"


STAGES = {
    "packages": Stage("install what is missing", _packages),
    "environment": Stage("the GPU, and which runtimes can use it", _environment),
    "portable": Stage("does a plan of TensorRT for RTX run on this GPU?", _portable),
    "kernels": Stage("build the correlation kernels for this GPU", _kernels),
    "tests": Stage("pytest -m gpu", _tests),
    "correlation": Stage("time every home of the correlation", _correlation),
    "compare": Stage("time every network and runtime", _compare),
    "readme": Stage("write the README's GPU table", _readme),
}


if __name__ == "__main__":
    sys.exit(main())
