"""Engines in forked and spawned processes, and at the end of the interpreter."""

import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import engine
from engine import FlowEngine
from engine.bundle.manifest import read_manifest, write_manifest
from engine.errors import BackendError, BundleError, InputError
from tests.support.fake_backend import FakeBackend

ROOT = Path(engine.__file__).parents[1]
IMAGE = np.zeros((64, 64, 3), np.uint8)
BACKENDS = ["onnxruntime", "openvino"]
needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


def run(code, *arguments):
    """Run code in a process of its own; return what it prints. A hang ends in an error."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


IN_A_FORKED_CHILD = """
import os, signal, sys, threading
import numpy as np
import engine

image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
opened, closed = (engine.load(sys.argv[2], backend=sys.argv[1], threads=2) for _ in range(2))
closed.close()
engine._default = opened
expected = None
begun = [opened.stream([image] * 3), opened.infer_many([(image, image)] * 9)]
if "infer" in sys.argv[3]:
    expected = opened.infer(image, image[::-1])
    list(map(next, begun))
with engine._default_lock, opened._opening, opened._lifetime._unused:  # as another thread may
    child = os.fork()
if child == 0:
    signal.alarm(30)
    if "use" in sys.argv[3]:
        flow = opened.infer(image, image[::-1])
        assert expected is None or np.array_equal(flow, expected)
        assert np.array_equal(engine.infer(image, image[::-1]), flow)
        assert np.array_equal(opened.infer_async(image, image[::-1]).result(), flow)
        for call in (*(one.__next__ for one in begun), lambda: closed.infer(image, image)):
            try:
                print(call().shape)
            except engine.BackendError as error:
                print(error, flush=True)
    sys.exit(0)  # runs the destructors
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@needs_fork
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("what", ["load", "load, use", "infer, use"])
def test_a_forked_child_uses_an_engine_and_ends(tiny_bundle, backend, what):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    lines = run(IN_A_FORKED_CHILD, backend, tiny_bundle, what).splitlines()
    begun = "the iterator was begun by the parent of this process, before a fork; its threads are"
    stream, many, closed = {
        "load": [""] * 3,
        "load, use": [begun, "(64, 64, 2)", "this engine is closed"],
        "infer, use": [begun, begun, "this engine is closed"],
    }[what]
    for line, start in zip(lines, (stream, many, closed) if lines else (), strict=True):
        assert line.startswith(start)
    assert bool(lines) == ("use" in what)


def forked(flow_engine):
    """Return the engine as a forked child has it."""
    flow_engine.after_fork()
    return flow_engine


def test_what_a_fork_makes_unusable(tiny_bundle):
    other = forked(FlowEngine(read_manifest(tiny_bundle), FakeBackend()))
    with pytest.raises(BackendError, match=r"from a backend instead of a bundle\. Open it in this"):
        other.infer(IMAGE, IMAGE)
    on_gpu = FakeBackend()
    on_gpu.device = "cuda:0"
    other = forked(FlowEngine(read_manifest(tiny_bundle), on_gpu, reload=lambda: other))
    with pytest.raises(BackendError, match=r"on cuda:0 before a fork; CUDA .* method \"spawn\"\."):
        other.infer(IMAGE, IMAGE)


def test_a_changed_bundle_is_not_taken_for_the_old_one(tiny_bundle, tmp_path):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    with engine.load(bundle, backend="onnxruntime", threads=1) as opened:
        content = pickle.dumps(opened)
        write_manifest(bundle, replace(opened.manifest, parameters=15))
        for again in (lambda: pickle.loads(content), lambda: forked(opened).infer(IMAGE, IMAGE)):
            with pytest.raises(BundleError, match=r"bundle has changed since .* Load it again"):
                again()


def test_pickle_opens_the_same_engine(tiny_bundle, rng):
    images = rng.integers(0, 256, (2, 300, 300, 3), dtype=np.uint8)
    with (
        engine.load(tiny_bundle, threads=2, streams=2, tile=256) as opened,
        pickle.loads(pickle.dumps(opened)) as again,
    ):
        assert repr(again) == repr(opened)
        assert again.streams == 2
        np.testing.assert_array_equal(again.infer(*images), opened.infer(*images))
    with pytest.raises(BackendError, match="this engine is closed"):
        pickle.dumps(opened)
    with pytest.raises(BackendError, match=r"cannot be pickled: .* Open it by engine\.load"):
        pickle.dumps(FlowEngine(read_manifest(tiny_bundle), FakeBackend()))


IN_A_SPAWNED_WORKER = """
import multiprocessing, os, sys
import numpy as np
import engine

def work(opened):
    return os.getpid(), opened.infer(image, image[::-1])

image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
if __name__ == "__main__":
    opened = engine.load(os.path.relpath(sys.argv[1]), backend="onnxruntime", threads=1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        os.chdir("/")
        process, flow = pool.apply(work, [opened])
    assert process != os.getpid()
    assert np.array_equal(flow, opened.infer(image, image[::-1]))
"""


def test_a_spawned_worker_gets_an_engine(tiny_bundle, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{IN_A_SPAWNED_WORKER}")
    subprocess.run([sys.executable, script, tiny_bundle], check=True, timeout=60)


WHILE_DAEMONS_INFER = """
import sys, threading, time
import numpy as np
import engine

image = np.zeros((192, 256, 3), np.uint8)
opened = engine.load(sys.argv[2], backend=sys.argv[1], threads=1)
started = threading.Semaphore(0)

def infer():
    while True:
        opened.infer(image, image)
        started.release()

for _ in range(3):
    threading.Thread(target=infer, daemon=True).start()
for _ in range(6):
    started.acquire()
"""

AT_EXIT = """
import atexit, sys
import numpy as np
import engine

image = np.zeros((64, 64, 3), np.uint8)
opened = engine.load(sys.argv[1], backend="onnxruntime", threads=2, streams=2)

@atexit.register
def last():
    print(opened.infer(image, image).shape)
    for call in (
        lambda: opened.infer_async(image, image),
        lambda: list(opened.infer_many([(image, image)])),
    ):
        try:
            call()
        except engine.EngineError as error:
            print(error)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_daemon_threads_do_not_abort_the_end_of_the_interpreter(tiny_bundle, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    assert run(WHILE_DAEMONS_INFER, backend, tiny_bundle) == ""


def test_calls_from_atexit(tiny_bundle):
    shape, *errors = run(AT_EXIT, tiny_bundle).splitlines()
    assert shape == "(64, 64, 2)"
    assert len(errors) == 2
    assert all(
        re.search(r"no thread starts: cannot schedule .* Call infer, which", x) for x in errors
    )


def test_threads_are_bounded_by_the_cpus(tiny_bundle, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    engine.load(tiny_bundle, backend="onnxruntime", threads=6).close()
    with pytest.raises(InputError, match=r"threads is 7, but this machine has 6 CPU\(s\); expect"):
        engine.load(tiny_bundle, threads=7)
