"""The stages of ``make gpu``, with a GPU that is made up and commands that do as they are told."""

import json
import sys
from types import SimpleNamespace

import pytest

from bench import gpu
from bench.gpu import STAGES, Setup, main, run_stage
from bench.gpu_environment import Card
from bench.harness.plan import BY_NAME
from engine.errors import HardwareMissingError

CARD = Card("NVIDIA X1", "580.1", "9.0")
BLIND = {"version": "1.0", "sees_gpu": False, "said": "no driver"}
SEES = {"version": "1.0", "sees_gpu": True, "said": "cuda:0"}


@pytest.fixture(autouse=True)
def _places(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu, "BUILD", tmp_path / "kernels")
    monkeypatch.setattr(gpu, "cards", lambda: [CARD])


@pytest.fixture
def commands(monkeypatch):
    """What was run; ``answer`` is called with each and gives its exit code."""
    found = SimpleNamespace(lines=[], answer=lambda command: 0)

    def call(*command):
        found.lines.append(" ".join(command).removeprefix(f"{sys.executable} -m "))
        return found.answer(command)

    monkeypatch.setattr(gpu, "call", call)
    return found


def verdict(name, *, wheels=None):
    found = run_stage(name, Setup([CARD], wheels), "")
    return found.status, found.reason


def table_of(output):
    """Status by stage, as the closing table has them."""
    lines = output.rstrip().rpartition("\n\n")[2].splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def test_without_a_gpu_every_stage_is_skipped(monkeypatch, tmp_path, commands, capsys):
    def none():
        raise HardwareMissingError("there is no nvidia-smi")

    monkeypatch.setattr(gpu, "cards", none)
    assert main([]) == 1
    output = capsys.readouterr().out
    assert table_of(output) == dict.fromkeys(STAGES, "skipped")
    assert output.count("no NVIDIA GPU: there is no nvidia-smi") == 2 * len(STAGES)
    assert commands.lines == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ("passed passed", 0),
        ("failed passed", 1),
        ("passed skipped", 1),
        ("crashed passed", 1),
    ],
)
def test_the_next_stage_runs_and_the_exit_code_tells(monkeypatch, capsys, outcomes, code):
    def work_of(outcome):
        errors = {
            "failed": gpu.FailedError("it is wrong"),
            "skipped": gpu.SkippedError("it is missing"),
            "crashed": KeyError("surprise"),
        }

        def work(setup):
            if outcome in errors:
                raise errors[outcome]
            return "all well"

        return gpu.Stage(outcome, work)

    stages = {f"stage{i}": work_of(name) for i, name in enumerate(outcomes.split())}
    monkeypatch.setattr(gpu, "STAGES", stages)
    assert main([]) == code
    output = capsys.readouterr().out
    said = outcomes.replace("crashed", "failed").split()
    assert list(table_of(output).values()) == said
    assert ("KeyError: 'surprise'" in output) == ("crashed" in outcomes)


def test_interrupted(monkeypatch, capsys):
    def interrupt(setup):
        raise KeyboardInterrupt

    stages = {"one": gpu.Stage("", lambda setup: "well"), "two": gpu.Stage("", interrupt)}
    monkeypatch.setattr(gpu, "STAGES", stages)
    assert main([]) == 130
    captured = capsys.readouterr()
    assert table_of(captured.out) == {"one": "passed"}
    assert "interrupted" in captured.err


def test_stages_alone_and_in_the_order_given(commands, capsys):
    assert main(["--stages", "readme,packages"]) == 1
    output = capsys.readouterr().out
    assert table_of(output) == {"readme": "skipped", "packages": "passed"}
    assert commands.lines == ["bench.packages"]


def test_the_list(commands, capsys):
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(STAGES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "kernel"], "unknown stage 'kernel'; expected packages, environment"),
        (["--wheels", "none"], "--wheels none: no such folder"),
    ],
)
def test_requests_that_cannot_be_met(commands, arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert commands.lines == []


def test_packages(commands, tmp_path):
    commands.answer = lambda command: 1
    assert verdict("packages", wheels=tmp_path) == ("failed", "some are missing, see above")
    assert commands.lines == [f"bench.packages --wheels {tmp_path}"]


def test_environment(monkeypatch, tmp_path):
    file = tmp_path / "nvidia-x1-environment.json"
    file.write_text(json.dumps({"tensorrt_rtx": "kept", "runtimes": "old"}))
    runtimes = dict.fromkeys(("torch", "onnxruntime", "pycuda", "tensorrt"), SEES)
    runtimes["tensorrt_rtx"] = BLIND
    monkeypatch.setattr(gpu, "report", lambda: {"runtimes": runtimes})
    assert verdict("environment") == ("passed", "NVIDIA X1, driver 580.1, compute capability 9.0")
    assert json.loads(file.read_text()) == {"tensorrt_rtx": "kept", "runtimes": runtimes}
    runtimes["pycuda"] = BLIND
    assert verdict("environment") == ("failed", "pycuda: no driver")
    assert json.loads(file.read_text())["runtimes"]["pycuda"] == BLIND


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("ok", ("passed", "it runs here, 0.01 px from fp32 PyTorch")),
        ("not run", ("failed", "it does not run here, and nothing else can: no driver")),
        ("failed", ("failed", "sm_90")),
    ],
)
def test_a_portable_plan(monkeypatch, tmp_path, status, expected):
    trial = {"status": status, "said": "sm_90", "mean_px": 0.01, "output": []}
    blind = ("tensorrt_rtx", "tensorrt")
    monkeypatch.setattr(gpu, "tried", lambda name: BLIND if name in blind else SEES)
    monkeypatch.setattr(gpu, "portable_plan", lambda folder: trial)
    assert verdict("portable") == expected
    written = json.loads((tmp_path / "nvidia-x1-environment.json").read_text())
    assert written == {"tensorrt_rtx": {**trial, "version": "1.0"}}


def test_no_portable_plan_where_the_other_package_serves(monkeypatch, tmp_path):
    trial = {"status": "not run", "said": "sm_90", "mean_px": None, "output": []}
    monkeypatch.setattr(gpu, "tried", lambda name: SEES)
    monkeypatch.setattr(gpu, "portable_plan", lambda folder: trial)
    assert verdict("portable") == ("passed", "it does not run here, and that is recorded: sm_90")


@pytest.mark.parametrize("lacking", ["tensorrt_rtx", "pycuda"])
def test_no_portable_plan_without_what_runs_it(monkeypatch, tmp_path, lacking):
    missing = {"version": None, "sees_gpu": False, "said": "no such package"}
    monkeypatch.setattr(gpu, "tried", lambda name: missing if name == lacking else SEES)
    status, reason = verdict("portable")
    assert status == "skipped"
    assert f"{lacking}: no such package" in reason
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def compilers(monkeypatch):
    found = {"cmake", "nvcc"}
    which = lambda name: f"/bin/{name}" if name in found else None  # noqa: E731
    monkeypatch.setattr(gpu.shutil, "which", which)
    return found


def test_kernels(monkeypatch, commands, compilers, tmp_path):
    def build(command):
        library.parent.mkdir(exist_ok=True)
        library.touch()
        return 0

    library = tmp_path / "kernels" / "libflow_correlation_cuda.so"
    commands.answer = build
    monkeypatch.setattr(gpu, "available_threads", lambda: 3)
    assert verdict("kernels") == ("passed", f"built for sm_90: {library.parent}")
    configure, make = commands.lines
    assert configure.startswith(f"cmake -S {gpu.ROOT} -B {library.parent} ")
    assert configure.endswith(" -DCMAKE_CUDA_ARCHITECTURES=90")
    assert make == f"cmake --build {library.parent} --parallel 3"


def test_kernels_of_several_cards(commands, compilers):
    cards = [CARD, Card("NVIDIA Y", "580.1", "8.9"), CARD]
    run_stage("kernels", Setup(cards, None), "")
    assert commands.lines[0].endswith(" -DCMAKE_CUDA_ARCHITECTURES=89;90")


@pytest.mark.parametrize(
    ("missing", "code", "reason"),
    [
        ("cmake", 0, "there is no cmake; install it, 3.22 or newer"),
        ("nvcc", 0, "there is no nvcc on the path; it is often in /usr/local/cuda/bin"),
        (None, 1, "cmake failed, see above"),
        (None, 0, "it found no CUDA compiler that works"),
    ],
)
def test_kernels_that_cannot_be_built(commands, compilers, missing, code, reason, tmp_path):
    library = tmp_path / "kernels" / "libflow_correlation_cuda.so"
    library.parent.mkdir()
    library.touch()  # of an earlier run
    compilers.discard(missing)
    commands.answer = lambda command: code
    status, said = verdict("kernels")
    assert status == "failed"
    assert said.endswith(reason)
    assert library.exists() == (missing is not None)


PYTEST_INI = "[pytest]\nmarkers = gpu\n"
TESTS = """
import pytest
pytestmark = pytest.mark.gpu
{passes}
@pytest.mark.skip(reason="needs two GPUs")
def test_skipped(): pass
@pytest.mark.skip(reason="needs two GPUs")
def test_skipped_too(): pass
{fails}
"""
PASSES, FAILS = "def test_good(): pass", "def test_bad(): assert 0"


@pytest.mark.parametrize(
    ("passes", "fails", "expected"),
    [
        (PASSES, "", ("passed", "1 tests; 2 skipped: needs two GPUs")),
        (PASSES, FAILS, ("failed", "exit code 1; test_x.test_bad")),
        ("", "", ("failed", "no test ran: needs two GPUs")),
        ("def oops(", "", ("failed", "exit code 2; .test_x")),
    ],
)
def test_tests(monkeypatch, tmp_path, passes, fails, expected):
    """With the real pytest."""
    (tmp_path / "pytest.ini").write_text(PYTEST_INI)
    (tmp_path / "test_x.py").write_text(TESTS.format(passes=passes, fails=fails))
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    assert verdict("tests") == expected


def test_tests_that_leave_no_result(commands):
    commands.answer = lambda command: 4
    assert verdict("tests") == ("failed", "pytest ended with exit code 4 and no result, see above")


def bench_that_writes(rows, code=0):
    def answer(command):
        with open(command[command.index("--json") + 1], "w") as file:
            json.dump({"rows": rows}, file)
        return code

    return answer


def result(backend, status, reason=None, device="cpu"):
    return {"backend": backend, "home": backend, "status": status, "reason": reason,
            "device": device}  # fmt: skip


GPU_ROW = next(name for name, contestant in BY_NAME.items() if contestant.gpu)


@pytest.mark.parametrize(
    ("rows", "code", "expected"),
    [
        (
            [result("openvino", "ok"), result(GPU_ROW, "ok"), result("tensorrt", "skipped", "why")],
            0,
            ("passed", "1 of 2 rows on the GPU; skipped: tensorrt: why"),
        ),
        ([result(GPU_ROW, "ok")], 0, ("passed", "1 of 1 rows on the GPU")),
        (
            [result("openvino", "ok"), *[result(GPU_ROW, "skipped", "no driver")] * 3],
            0,
            ("failed", f"no row ran on the GPU: {GPU_ROW}: no driver"),
        ),
        (
            [result(GPU_ROW, "ok"), result("openvino", "failed", "it broke")],
            1,
            ("failed", "openvino: it broke"),
        ),
        ([result(GPU_ROW, "ok")], 1, ("failed", "exit code 1, see above")),
        ([result(GPU_ROW, "ok")], 2, ("failed", "exit code 2, see above")),
    ],
)
def test_compare(commands, tmp_path, rows, code, expected):
    commands.answer = bench_that_writes(rows, code)
    assert verdict("compare") == expected
    assert commands.lines == [
        f"bench.compare --full --json {tmp_path / 'nvidia-x1.json'} "
        f"--report {gpu.ROOT / 'build' / 'gpu.html'}"
    ]


@pytest.mark.parametrize("code", [0, 1, 2])
def test_results_of_an_earlier_run_are_not_this_ones(commands, tmp_path, code):
    """A crash ends with the exit code of a row that failed."""
    file = tmp_path / "nvidia-x1.json"
    file.write_text(json.dumps({"rows": [result(GPU_ROW, "ok")]}))
    commands.answer = lambda command: code
    assert verdict("compare") == ("failed", f"exit code {code} and no results, see above")
    assert json.loads(file.read_text())["rows"]


def test_correlation(commands, tmp_path):
    rows = [result("on the CPU", "ok"), result("plain", "ok", device="cuda")]
    commands.answer = bench_that_writes(rows)
    assert verdict("correlation") == ("passed", "1 of 1 rows on the GPU")
    file = tmp_path / "nvidia-x1-correlation.json"
    assert commands.lines == [f"bench.correlation --json {file}"]
    commands.answer = bench_that_writes([result("plain", "skipped", "no library", device="cuda")])
    assert verdict("correlation") == ("failed", "no row ran on the GPU: plain: no library")


def test_readme(monkeypatch, tmp_path):
    written = []
    monkeypatch.setattr(gpu, "write_table", lambda *files: written.append(files))
    file = tmp_path / "nvidia-x1.json"
    assert verdict("readme") == (
        "skipped",
        f"there is no {file}; the stage compare writes it",
    )
    file.touch()
    assert verdict("readme")[0] == "passed"
    assert written == [(gpu.README, file)]


def test_commands_get_the_kernels_of_this_gpu(monkeypatch, tmp_path, capfd):
    code = "import os; print(os.environ.get('FLOW_KERNELS'))"
    monkeypatch.delenv("FLOW_KERNELS", raising=False)
    assert gpu.call(sys.executable, "-c", code) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "None"
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "libflow_correlation_cuda.so").touch()
    assert gpu.call(sys.executable, "-c", code) == 0
    assert capfd.readouterr().out.splitlines()[-1] == str(tmp_path / "kernels")
